from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from gproxy.clock import SystemClock
from gproxy.runtime.logs import Level, Log


@contextmanager
def logging(**options: bool) -> Iterator[tuple[Log, list[bytes]]]:
    reading, writing = os.pipe()
    log = Log(SystemClock(), level=Level.INFO, as_json=options.get("as_json", True), fd=writing)
    lines: list[bytes] = []
    with os.fdopen(reading, "rb") as pipe, ThreadPoolExecutor(1) as pool:
        everything = pool.submit(pipe.read)
        yield log, lines
        log.close(timeout=10)
        os.close(writing)
        lines += everything.result().splitlines()


def test_one_json_object_per_line_whatever_the_values_hold() -> None:
    with logging() as (log, lines):
        log.info("request", model='evil\n{"level":"error"}\x1b[31m', status=200, none=None)
    (line,) = lines
    found = json.loads(line)
    assert found["event"] == "request"
    assert found["model"] == 'evil\n{"level":"error"}\x1b[31m'
    assert found["level"] == "info"


def test_text_lines_cannot_be_forged_either() -> None:
    with logging(as_json=False) as (log, lines):
        log.warning("request", model="a\nb c=d\x1b[0m", plain="gpt-4.1", missing=None)
    (line,) = lines
    assert b"\x1b" not in line
    assert b'model="a\\nb c=d\\u001b[0m"' in line
    assert b"plain=gpt-4.1" in line
    assert b"missing" not in line


@pytest.mark.parametrize("as_json", [True, False])
def test_half_a_character_from_outside_is_written_as_its_escape(as_json: bool) -> None:
    with logging(as_json=as_json) as (log, lines):
        log.info("request", model_served="a\ud800b", plain="x")
    (line,) = lines
    assert b"a\\ud800b" in line
    assert not as_json or json.loads(line)["model_served"] == "a\ud800b"


def test_quiet_levels_are_not_written() -> None:
    with logging() as (log, lines):
        log.line(Level.DEBUG, "noise", {})
        log.error("trouble")
    assert [json.loads(line)["event"] for line in lines] == ["trouble"]


def test_order_is_kept() -> None:
    with logging() as (log, lines):
        for number in range(5000):
            log.info("tick", n=number)
    assert [json.loads(line)["n"] for line in lines] == list(range(5000))


def test_a_full_pipe_neither_blocks_the_caller_nor_the_end() -> None:
    reading, writing = os.pipe()
    log = Log(SystemClock(), level=Level.INFO, as_json=True, fd=writing)
    for _ in range(50_000):
        log.info("tick", text="x" * 100)
    log.close(timeout=0.1)
    os.close(reading)
    os.close(writing)


def test_a_closed_pipe_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = Log(SystemClock(), level=Level.INFO, as_json=True, fd=writing)
    log.info("anyone?")
    log.close(timeout=10)
    os.close(writing)
