"""Time grows with the bytes and not with their square: counted in lines of Python that run, not by a clock.

Fed byte by byte, so that whatever is looked at again for every piece shows; twice the bytes may cost twice the lines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest

from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from gproxy.wire import array, eventstream, multipart, sse
from tests.fuzz import material

Reader = Callable[[bytes], object]


def lines_run(work: Callable[[], object]) -> int:
    count = 0

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def one_by_one(feed: Callable[[bytes], object]) -> Reader:
    def read(text: bytes) -> None:
        for at in range(len(text)):
            feed(text[at : at + 1])

    return read


def hub(client: Dialect, upstream: Dialect) -> Reader:
    made = Hub(Setup(client, upstream, Names("a", "m"), streams=True, upstream_streams=True, id="i"), Tally())
    made.begins(b"text/event-stream")
    return one_by_one(made.feed)


def tap(dialect: Dialect) -> Reader:
    return one_by_one(Passthrough(dialect, Names("a", "m"), streams=True, include_usage=None).feed)


LONG_CHAT = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
GROWING: list[tuple[str, Callable[[], Reader], bytes]] = [
    ("sse, many events", lambda: one_by_one(sse.Decoder().feed), b"data: a\n\n"),
    ("sse, one event", lambda: one_by_one(sse.Decoder().feed), b"data: a\r\n"),
    ("sse, carriage returns", lambda: one_by_one(sse.Blocks().feed), b"\r:\r\r"),
    ("array, many elements", lambda: one_by_one(array.Array().feed), b'[{"a":1},'),
    ("array, one text", lambda: one_by_one(array.Array().feed), b'["\\""'),
    ("event stream", lambda: one_by_one(eventstream.Decoder().feed), material.messages()[0]),
    ("form", lambda: _parse, b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'),
    *((f"tap {d.value}", lambda d=d: tap(d), material.streams(d)[0][:300]) for d in GENERATE_DIALECTS),
    *(
        (f"decoder {d.value}", lambda d=d: one_by_one(DIALOGUES[d].stream_decoder().feed), material.streams(d)[0][:300])
        for d in GENERATE_DIALECTS
    ),
    *((f"hub chat to {d.value}", lambda d=d: hub(d, Dialect.OPENAI_CHAT), LONG_CHAT) for d in GENERATE_DIALECTS),
]  # fmt: skip


def _parse(text: bytes) -> None:
    try:
        multipart.parse(b"multipart/form-data; boundary=b", text)
    except multipart.FormProblem:
        return


@pytest.mark.parametrize(("make", "unit"), [one[1:] for one in GROWING], ids=[one[0] for one in GROWING])
def test_twice_the_bytes_cost_twice_the_steps(make: Callable[[], Reader], unit: bytes) -> None:
    costs = []
    for times in (40, 80, 160):
        read = make()
        text = unit * times
        costs.append(lines_run(partial(read, text)))
    first, second = costs[1] - costs[0], costs[2] - costs[1]
    assert first >= 40
    # Exactly double where every unit costs the same; a step that looks at all that came before makes it four times.
    assert second <= 2.2 * first, costs
