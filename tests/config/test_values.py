from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.config import values
from gproxy.config.values import Kind
from gproxy.secret import Secret


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20", 20), ("20s", 20), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1.5 s", 1.5), ("0", 0), ("1D", 86_400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration().parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "+1", "1e3", "nan", "inf", "5 minutes", "1:30", "١s", "366d", "9" * 400]
)
def test_a_bad_duration_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(ValueError, match=r"number of seconds|no more than"):
        values.duration().parse(text)


def test_a_duration_has_its_least() -> None:
    with pytest.raises(ValueError, match="at least 1ms"):
        values.duration(0.001).parse("0")


@given(st.integers(0, 10_000_000))
def test_a_shown_duration_reads_back_as_itself(ms: int) -> None:
    assert values.duration().parse(values.show_duration(ms / 1000)) == pytest.approx(ms / 1000, rel=1e-5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(20, "20s"), (60, "60s"), (120, "2m"), (600, "10m"), (3600, "1h"), (0.5, "500ms"), (0, "0s"), (90, "90s")],
)
def test_durations_are_shown_short(seconds: float, text: str) -> None:
    assert values.show_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("65536", 65_536),
        ("64KiB", 65_536),
        ("64k", 65_536),
        ("50MiB", 50 << 20),
        ("50 mib", 50 << 20),
        ("1GB", 1_000_000_000),
        ("1.5KiB", 1536),
        ("0", 0),
        ("7B", 7),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert values.size().parse(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e9", "1.5", "0.3KiB", "12 potatoes", "2000TiB", "9" * 400])
def test_a_bad_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"number of bytes|no more than"):
        values.size().parse(text)


@given(st.integers(0, 1 << 50))
def test_a_shown_size_reads_back_as_itself(count: int) -> None:
    assert values.size().parse(values.show_size(count)) == count


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", "0x10", "65536", "٣", "1_0", "9" * 5000])
def test_whole_numbers_are_bounded_and_plain(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|between"):
        values.whole(0, 65_535).parse(text)


@pytest.mark.parametrize(
    ("text", "host"), [("::", "::"), ("[::1]", "::1"), (" 0.0.0.0 ", "0.0.0.0"), ("gw.example", "gw.example")]
)
def test_hosts(text: str, host: str) -> None:
    assert values.HOST.parse(text) == host


@pytest.mark.parametrize("text", ["http://x", "x/y", "", "127.0.0.1:80", "a b"])
def test_a_host_is_an_address_alone(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|empty"):
        values.HOST.parse(text)


def test_a_url_is_a_secret_and_is_shown_without_its_password() -> None:
    kind = values.url("postgres")
    found = kind.parse("postgres://me:hunter2@db/x")
    assert found == Secret("postgres://me:hunter2@db/x")
    assert kind.show(found) == "postgres://me:…@db/x"


@pytest.mark.parametrize("text", ["sqlite://./x.db?mode=rwc", "sqlite:///tmp/with space/x.db", "sqlite+aiosqlite:///x"])
def test_the_usual_ways_to_write_a_database(text: str) -> None:
    assert values.url("sqlite").parse(text).reveal() == text


@pytest.mark.parametrize("text", ["", "x.db", "oracle://x", "sqlite:", "sqlite://"])
def test_a_url_of_another_kind_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="begins with sqlite://"):
        values.url("sqlite").parse(text)


def test_networks_are_normalised() -> None:
    assert values.NETWORKS.parse("10.1.2.3/8, 192.168.1.7 fd00::/8") == ("10.0.0.0/8", "192.168.1.7/32", "fd00::/8")
    with pytest.raises(ValueError, match="separated by commas"):
        values.NETWORKS.parse("everyone")


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert values.PATH.parse("~/data") == Path("/home/someone/data")


@pytest.mark.parametrize("kind", [values.SECRET, values.WORD, values.PATH])
def test_nothing_is_no_value(kind: Kind) -> None:
    with pytest.raises(ValueError, match=r"empty|write the path"):
        kind.parse("")
