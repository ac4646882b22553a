"""What is fuzzed, and what must hold whatever the bytes.

wire        in any pieces the same as in one; nothing raised but what the docstring names
requests    read or refused with `JsonProblem`; what was read can be said in every dialect, and read again
answers     likewise; an answer that was not complained of can be passed on
streams     in any pieces the same events; they keep the promises of `canonical.events`; in every client's dialect they
            are a legal stream that no guard had to mend; nothing is ever raised
taps        not a byte changed but half an event at the end; the same facts in any pieces
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from hypothesis import strategies as st

from gproxy.canonical.events import Event
from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.errors import Failure, Kind
from gproxy.pipeline.framing import _event
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from gproxy.wire import array, eventstream, multipart, sse
from gproxy.wire.json import JsonProblem, loads
from tests.fuzz import material
from tests.fuzz.material import Draw
from tests.protocols import legality
from tests.vendor.legal import judge
from tests.wire import test_sse

Target = Callable[[Draw], None]

FACTS: Final = ReplyFacts("i", "m", 7, include_usage=True)
FAILURE: Final = Failure(Kind.UPSTREAM_ERROR, "no more")
SAME, OTHER = Names("m", "m"), Names("asked-for", "m")
VENDORS_DOING: Final = frozenset({"arguments", "tool_arguments"})
"""Why a guard may end a stream: tool arguments that no client could use."""


# --- wire ---


def events_of_a_stream(draw: Draw) -> None:
    """wire.sse: the events of the standard's own algorithm, and every byte kept."""
    text = material.spoiled_bytes(draw, draw(st.sampled_from(_every_stream())))
    pieces = material.cut(draw, text)
    decoder, blocks = sse.Decoder(), sse.Blocks()
    found = [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()
    assert [(event.data, event.name) for event in found] == test_sse.oracle(text)
    assert b"".join(map(blocks.feed, pieces)) + blocks.take() == text


def elements_of_an_array(draw: Draw) -> None:
    """wire.array: the same elements in any pieces, and every byte kept; those of `json` where it is JSON at all."""
    seeds = (*material.ARRAYS, *material.streams(Dialect.GEMINI, sse=False))
    text = material.spoiled_bytes(draw, draw(st.sampled_from(seeds)))

    def read(pieces: list[bytes]) -> tuple[bytes, list[bytes], int]:
        reader = array.Array()
        found = [one for piece in pieces for one in reader.feed(piece)]
        rest = reader.take()
        return b"".join(piece for piece, _ in found) + rest, [piece for piece, whole in found if whole], reader.depth

    kept, elements, depth = read(material.cut(draw, text))
    assert kept == text
    assert (elements, depth) == read([text])[1:]
    try:
        value = json.loads(text)
    except ValueError:
        return
    if isinstance(value, list):
        assert [json.loads(one) for one in elements] == [one for one in value if isinstance(one, dict | list)]


def messages_of_an_event_stream(draw: Draw) -> None:
    """wire.eventstream: the same messages and the same complaint in any pieces; each is an event or a `BadMessage`."""
    text = material.spoiled_bytes(draw, draw(st.sampled_from(material.messages())))

    def read(pieces: list[bytes]) -> tuple[list[eventstream.Message], str]:
        decoder, found = eventstream.Decoder(), list[eventstream.Message]()
        try:
            for piece in pieces:
                found.extend(decoder.messages(piece))
            decoder.end()
        except eventstream.BadMessage as problem:
            return found, str(problem)
        return found, ""

    found, problem = read(material.cut(draw, text))
    assert (found, problem) == read([text])
    for message in found:
        try:
            _event(message)
        except eventstream.BadMessage:
            continue


def parts_of_a_form(draw: Draw) -> None:
    """wire.multipart: parts in order and apart, or `FormProblem`; a changed field is the only change."""
    body = material.spoiled_bytes(draw, draw(st.sampled_from(material.FORMS)))
    kind = material.spoiled_bytes(draw, b"multipart/form-data; boundary=b") if draw(st.booleans()) else None
    content_type = kind or b"multipart/form-data; boundary=b"
    try:
        form = multipart.parse(content_type, body)
        before = [(part.name, bytes(form.value(part))) for part in form.parts]
        form.text("model")
        changed = multipart.parse(content_type, form.with_text("model", "other"))
    except multipart.FormProblem:
        return
    at = 0
    for part in form.parts:
        assert at <= part.start <= part.end <= len(body)
        at = part.end
    assert changed.text("model") == "other"
    kept = [(part.name, bytes(changed.value(part))) for part in changed.parts]
    assert [one for one in kept if one[0] != "model"] == [one for one in before if one[0] != "model"]


# --- requests and answers ---


def a_request(draw: Draw, dialect: Dialect) -> None:
    """`decode_request`, and from there to every dialect."""
    body = material.spoiled_json(draw, draw(st.sampled_from(material.requests(dialect))))
    stream = draw(st.booleans())
    try:
        asked = DIALOGUES[dialect].decode_request(body, model="m", stream=stream)
    except JsonProblem:
        return
    for other in GENERATE_DIALECTS:
        try:
            written = DIALOGUES[other].encode_request(asked, Losses())
        except JsonProblem:
            continue
        assert isinstance(loads(written), dict)
        DIALOGUES[other].decode_request(written, model="m", stream=stream)


def an_answer(draw: Draw, dialect: Dialect) -> None:
    """`decode_response`, and from there to every dialect; errors; what passthrough does with the same body."""
    body = material.spoiled_json(draw, draw(st.sampled_from(material.answers(dialect))))
    assert DIALOGUES[dialect].decode_error(body).message
    straight = Passthrough(dialect, draw(st.sampled_from((SAME, OTHER))), streams=False, include_usage=None)
    if straight.complaint(body) is None:
        straight.answer(body)
        assert straight.produced >= 0
        straight.usage.total  # noqa: B018 - it must add up
    try:
        told = DIALOGUES[dialect].decode_response(body)
    except JsonProblem:
        return
    for other in GENERATE_DIALECTS:
        written = DIALOGUES[other].encode_response(told, FACTS, Losses())
        assert isinstance(loads(written), dict)
        DIALOGUES[other].decode_response(written)


# --- streams ---


def a_stream(draw: Draw, dialect: Dialect) -> None:
    """The dialect's decoder, and from there to every client."""
    text, pieces = _stream_of(draw, dialect)

    def read(pieces: Iterable[bytes]) -> list[Event]:
        decoder = DIALOGUES[dialect].stream_decoder()
        events = [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()
        assert decoder.feed(b"data: {}\n\n") == decoder.end() == []
        return events

    events = read(pieces)
    legality.check(events)
    assert events == read([text])
    for client in GENERATE_DIALECTS:
        _reaches(client, dialect, pieces)


def _reaches(client: Dialect, dialect: Dialect, pieces: list[bytes]) -> None:
    tally = Tally()
    hub = Hub(Setup(client, dialect, OTHER, streams=True, upstream_streams=True, id="i", created=7), tally)
    hub.begins(b"text/event-stream")
    out = b"".join(map(hub.feed, pieces)) + hub.end()
    if not (hub.finished or hub.failed):
        out += hub.cut(FAILURE)
    assert not tally.repaired, (client, tally.repaired)
    assert {rule for _, rule in tally.ended} <= VENDORS_DOING, (client, tally.ended)
    verdict = judge(client.value, stream=True, body=out)
    assert verdict.legal, (client, verdict.faults, out[-2000:])
    assert verdict.complete is hub.finished, (client, out[-2000:])


def a_tap(draw: Draw, dialect: Dialect) -> None:
    """What passthrough makes of a stream: the very bytes, and the same facts in any pieces."""
    text, pieces = _stream_of(draw, dialect)
    plain = draw(st.booleans())

    def read(pieces: Iterable[bytes]) -> tuple[bytes, Any]:
        names = SAME if plain else OTHER
        made = Passthrough(dialect, names, streams=True, include_usage=plain, choices=2)
        made.begins(b"text/event-stream")
        out = b"".join(map(made.feed, pieces))
        between = made.keep_alive() != b""
        out += made.end()
        return out, (made.usage, made.model, made.finished, made.failed, between)

    out, facts = read(pieces)
    out_whole, facts_whole = read([text])
    assert out == out_whole, text
    if dialect is Dialect.GEMINI:
        # Every chunk reports usage and only the newest report is read. Where that one is spoiled, what came in the same
        # piece still counts, and the rest is estimated.
        facts, facts_whole = facts[1:], facts_whole[1:]
    assert facts == facts_whole, (facts, facts_whole, pieces)
    if plain:
        assert text.startswith(out)
        lost = text[len(out) :]
        assert len(sse.split(lost)) <= 1, "at most the last event is held back"


def _stream_of(draw: Draw, dialect: Dialect) -> tuple[bytes, list[bytes]]:
    text = material.spoiled_stream(draw, draw(st.sampled_from(material.streams(dialect))))
    return text, material.cut(draw, text)


def _every_stream() -> tuple[bytes, ...]:
    return tuple(text for dialect in GENERATE_DIALECTS for text in material.streams(dialect))


TARGETS: Final[dict[str, Target]] = {
    "sse": events_of_a_stream,
    "array": elements_of_an_array,
    "eventstream": messages_of_an_event_stream,
    "multipart": parts_of_a_form,
    **{f"request-{dialect.value}": partial(a_request, dialect=dialect) for dialect in GENERATE_DIALECTS},
    **{f"answer-{dialect.value}": partial(an_answer, dialect=dialect) for dialect in GENERATE_DIALECTS},
    **{f"stream-{dialect.value}": partial(a_stream, dialect=dialect) for dialect in GENERATE_DIALECTS},
    **{f"tap-{dialect.value}": partial(a_tap, dialect=dialect) for dialect in GENERATE_DIALECTS},
}
"""Every reader by its name on the command line."""
