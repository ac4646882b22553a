import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproxy.canonical.usage import Source
from gproxy.cli.main import main
from gproxy.clock import SystemClock
from gproxy.ids import new_id
from gproxy.ledger.journal import Journal
from gproxy.ledger.record import Closed, Opened, Outcome


def opened() -> Opened:
    return Opened(
        attempt_id=new_id(),
        request_id=new_id(),
        at=SystemClock.now_us(),
        user_id=new_id(),
        user_name="alice",
        key_id=new_id(),
        provider_name="main",
        credential_id=new_id(),
        channel="openai",
        dialect_in="openai_chat",
        dialect_out="openai_chat",
        operation="generate",
        model_asked="m",
        model_upstream="m",
        route_name=None,
        attempt_no=1,
        streamed=False,
        price_version="unpriced",
        rates=b"",
    )


def closed(attempt_id: str) -> Closed:
    return Closed(
        attempt_id=attempt_id,
        at=SystemClock.now_us(),
        model_served="m",
        input_tokens=3,
        output_tokens=5,
        cache_read_tokens=None,
        cache_write_5m_tokens=None,
        cache_write_1h_tokens=None,
        reasoning_tokens=None,
        audio_tokens=None,
        cost_nano_usd=7,
        source=Source.REPORTED,
        outcome=Outcome.COMPLETE,
        status=200,
        first_byte_ms=1,
        total_ms=2,
    )


@pytest.fixture
def journal(home: Path) -> Iterator[Journal]:
    """A journal with one finished and one unfinished attempt, its owner still alive."""
    journal = Journal.create(home / "data" / "journal", SystemClock())
    finished, unfinished = opened(), opened()
    journal.open(finished)
    journal.open(unfinished)
    journal.close(closed(finished.attempt_id))
    yield journal
    journal.end()


def test_no_journal_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "inspect"]) == 0
    assert "no journals" in capsys.readouterr().out
    assert main(["journal", "replay"]) == 0
    assert "nothing to replay" in capsys.readouterr().out


def test_what_is_in_a_journal_is_told(journal: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "inspect"]) == 0
    assert f"{journal.id}: in use by a running gateway" in capsys.readouterr().out
    journal.end()
    assert main(["journal", "inspect", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["journal"], told["in_use"]) == (journal.id, False)
    (segment,) = told["segments"]
    assert (segment["opened"], segment["closed"], segment["sealed"], segment["damage"]) == (2, 1, True, [])


def test_damage_is_shown_and_exits_with_1(home: Path, journal: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    journal.end()
    (segment,) = (home / "data" / "journal" / journal.id).glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[200] ^= 0xFF
    segment.write_bytes(data)
    assert main(["journal", "inspect"]) == 1
    assert "damaged" in capsys.readouterr().out


def test_a_replay_writes_each_attempt_once_and_empties_the_journal(
    home: Path, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.end()
    assert main(["journal", "replay"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 journals: 2 rows written, 0 were there already",
        "1 attempts had no end and are rows with outcome interrupted",
    ]
    with sqlite3.connect(home / "data" / "gproxy.db") as db:
        rows = db.execute("SELECT outcome, cost_nano_usd FROM usages ORDER BY outcome").fetchall()
    db.close()
    assert rows == [("complete", 7), ("interrupted", 0)]
    assert list((home / "data" / "journal").iterdir()) == []
    assert main(["journal", "replay"]) == 0


def test_the_journal_of_a_running_gateway_is_left_to_it(
    home: Path, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["journal", "replay"]) == 0
    assert "nothing to replay" in capsys.readouterr().out
    assert not (home / "data" / "gproxy.db").exists()


def test_without_a_database_the_journal_stays(home: Path, journal: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    journal.end()
    assert main(["journal", "replay", "--dsn", "postgres://x@127.0.0.1:1/x"]) == 1
    assert "cannot be used" in capsys.readouterr().err
    assert len(list((home / "data" / "journal").iterdir())) == 1
