import signal
from collections.abc import Iterator

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from gproxy.cli.main import main
from gproxy.cli.options import with_flags
from gproxy.cli.serve import DEMO_TEXT, Asked, quick, show_help
from gproxy.config.settings import all_settings

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """`serve` answers signals from its first line on; here they are the test runner's."""
    before = [signal.getsignal(number) for number in HEARD]
    yield
    for number, handler in zip(HEARD, before, strict=True):
        signal.signal(number, handler)


FLAGS = [setting.flag for setting in all_settings() if setting.flag]


def by_the_library(words: list[str]) -> Asked:
    """What the command line library makes of the same words."""
    heard: list[Asked] = []

    def command(flags: dict[str, str], demo: bool = typer.Option(False, "--demo", help=DEMO_TEXT)) -> int:
        heard.append(Asked(flags, demo))
        return 0

    app = typer.Typer()
    app.command()(with_flags(command, "*"))
    app(words, standalone_mode=False)
    return heard[0]


pairs = st.tuples(st.sampled_from(FLAGS), st.sampled_from(["1", "", "-1", "--port", "a=b", "x y"]), st.booleans())


@given(st.lists(pairs, max_size=4), st.booleans())
def test_the_quick_reading_is_the_librarys(given_pairs: list[tuple[str, str, bool]], demo: bool) -> None:
    words = ["--demo"] if demo else []
    for flag, value, joined in given_pairs:
        words += [f"{flag}={value}"] if joined else [flag, value]
    assert quick(words) == by_the_library(words)


@pytest.mark.parametrize("argv", [["--prot", "1"], ["--port"], ["extra"], ["--demo=1"], ["--"], ["-p", "1"]])
def test_what_is_not_plainly_a_flag_is_left_to_the_library(argv: list[str]) -> None:
    assert quick(argv) is None


def test_a_setting_that_cannot_be_used_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "http", "--max-body=big"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("gproxy: --") for line in lines)


def test_a_database_address_that_cannot_be_understood_is_told_before_the_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["serve", "--dsn", "mysql://u:hunter2@host"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gproxy: --dsn (or GPROXY_DSN): ")
    assert "hunter2" not in line


def test_help_shows_every_setting_with_variable_value_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    env = {
        "GPROXY_PORT": "9000",
        "GPROXY_MAX_BODY": "lots",
        "DATABASE_SECRET_KEY": "hunter2",
        "GPROXY_DSN": "postgres://me:hunter2@db/x",
    }
    assert show_help(env) == 0
    told = capsys.readouterr().out
    for setting in all_settings():
        assert setting.env in told
        assert setting.flag is None or f"{setting.flag} {setting.kind.word}, " in told
    assert "= 9000 (environment; default 8787)" in told
    assert "= 127.0.0.1 (default)" in told
    assert "= not usable: write a number of bytes" in told
    assert "= (set) (environment" in told
    assert "= postgres://me:…@db/x (environment" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("env", "coloured"), [({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False), ({"FORCE_COLOR": "1"}, True)]
)
def test_colour_is_the_readers_choice(
    env: dict[str, str], coloured: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"NO_COLOR": "", "FORCE_COLOR": "", **env}.items():
        monkeypatch.setenv(name, value)
    show_help({})
    assert ("\x1b[" in capsys.readouterr().out) is coloured
