import os
import subprocess
import sys
from pathlib import Path

import pytest

from gproxy import __version__
from gproxy.cli.main import main


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_the_version_is_printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out == f"gproxy {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["bogus"], "No such command"),
        (["serve", "--prot", "1"], "--port"),
        (["serve", "--port"], "requires an argument"),
        (["serve", "extra"], "unexpected extra argument"),
        (["db", "check", "--port", "1"], "No such option"),
        (["version", "extra"], "unexpected extra argument"),
    ],
)
def test_a_usage_error_ends_with_2_and_says_what_is_wrong(
    argv: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert word in err
    assert not out
    assert "Traceback" not in err


@pytest.mark.parametrize("argv", [["--help"], ["serve", "-h"], ["db", "--help"], ["journal", "inspect", "--help"]])
def test_help_is_no_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert "Usage:" in capsys.readouterr().out


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    told = capsys.readouterr().out
    for command in ("serve", "check", "doctor", "version", "db", "journal"):
        assert f"\n  {command} " in told


def test_a_fault_of_ours_is_one_line_unless_asked_for_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gproxy.cli.main._run", lambda _: 1 // 0)
    monkeypatch.delenv("GPROXY_DEBUG", raising=False)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "gproxy: internal error: ZeroDivisionError: integer division or modulo by zero (GPROXY_DEBUG=1 shows where)"
    ]
    monkeypatch.setenv("GPROXY_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def loaded_by(*argv: str) -> set[str]:
    """The modules a fresh interpreter has loaded after a command."""
    script = f"import sys; from gproxy.cli.main import main; main({list(argv)!r}); print('|'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split("|"))


@pytest.mark.process
@pytest.mark.parametrize("argv", [["version"], ["serve", "--help"], ["serve", "--port", "nonsense"]])
def test_quick_answers_load_nothing_heavy(argv: list[str]) -> None:
    heavy = {"typer", "rich", "asyncio", "sqlalchemy", "msgspec", "ssl", "cryptography"}
    assert not heavy & loaded_by(*argv)


@pytest.mark.process
@pytest.mark.parametrize(("words", "found"), [("gproxy serve --max-b", "--max-body"), ("gproxy doc", "doctor")])
def test_the_shell_completes_commands_and_flags(words: str, found: str) -> None:
    env = {"_GPROXY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [Path(sys.executable).with_name("gproxy")],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [found]


@pytest.mark.process
def test_help_loads_only_the_command_line_library() -> None:
    assert not {"rich", "asyncio", "sqlalchemy", "msgspec", "cryptography"} & loaded_by("--help")


@pytest.mark.process
def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{Path(sys.executable).with_name('gproxy')} serve --help | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not done.stderr
