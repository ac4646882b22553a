"""What fuzzing starts from: small legal requests, answers and streams of every dialect, and ways to spoil them.

Nothing here needs recordings: requests are the probes of the translation page, answers are the simulated vendor's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from hypothesis import strategies as st

from dev.translation import BASES, PROBES
from gproxy.canonical.operation import Dialect, Operation
from gproxy.vendor.answer import compose
from gproxy.vendor.ask import Ask, ToolDef
from gproxy.vendor.behaviour import Behaviour, ToolUse
from gproxy.vendor.voices import VOICES
from gproxy.wire import eventstream

Draw = Callable[[st.SearchStrategy[Any]], Any]

ODD: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1, 2**53 + 1, 10**30, 0.5, 1e308, "", "x", "0", "\0", "é\u2028", "\ud800", [], {}, [[]], [None],
    [{}], {"": {}}, {"type": 5}, {"type": "text"}, {"text": None}, {"error": {}}, {"error": "boom"}, {"error": {"message": 5}},
)  # fmt: skip
"""Values that stand where they should not."""

TOKENS: Final = (
    b"", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"data:", b"data: ", b"event: error\n", b"event: x\n", b": c\n", b"id: 1\n",
    b"data: [DONE]\n\n", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\0", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u00",
    b"null", b"1e999", b"NaN", b"-", b"0" * 30, b'{"error":{"message":"boom"}}', b"--b", b"--b--", b"\r\n--b\r\n", b"; ",
    b'Content-Disposition: form-data; name="a"', b"\x00\x00\x00\x10",
)  # fmt: skip
"""Bytes that mean something to one of the readers."""

_TOOLS: Final = [ToolDef("add", {"type": "object", "properties": {"a": {"type": "integer"}}})]
_WISHES: Final = (
    Behaviour(tokens=3),
    Behaviour(text="a “b” \n\n c", reasoning=2, cached=3),
    Behaviour(tokens=0, text=""),
    Behaviour(calls=(ToolUse(tool="add", arguments={"a": 1}), ToolUse(tool="add", arguments={"b": "é"})), reasoning=1),
    Behaviour(text="so", calls=(ToolUse(tool="run", arguments={}),), usage="every"),
)


def _ask(dialect: Dialect, *, stream: bool, sse: bool = True, choices: int = 1) -> Ask:
    operation = Operation.STREAM if stream else Operation.GENERATE
    return Ask(
        dialect,
        operation,
        "m",
        stream=stream,
        sse=sse,
        include_usage=True,
        tools=_TOOLS,
        choices=choices,
        input_tokens=7,
    )


@lru_cache
def streams(dialect: Dialect, *, sse: bool = True) -> tuple[bytes, ...]:
    """Whole streams as a vendor of the dialect sends them."""
    found = []
    for wish in _WISHES:
        for choices in (1, 2) if dialect is Dialect.OPENAI_CHAT else (1,):
            ask = _ask(dialect, stream=True, sse=sse, choices=choices)
            frames = VOICES[dialect].stream(ask, compose(ask, wish, 1), wish.usage, 7)
            found.append(b"".join(frame.data for frame in frames))
        found.append(VOICES[dialect].error_frame(500, None, "boom").data)
    return tuple(found)


@lru_cache
def answers(dialect: Dialect) -> tuple[bytes, ...]:
    """Whole answers, and an error."""
    ask = _ask(dialect, stream=False)
    made = [VOICES[dialect].whole(ask, compose(ask, wish, 1), wish.usage, 7)[0] for wish in _WISHES]
    return (*made, VOICES[dialect].error(500, None, "boom", None, 1))


@lru_cache
def requests(dialect: Dialect) -> tuple[bytes, ...]:
    """Requests that say one thing each."""
    bases = copy.deepcopy(BASES[dialect])
    return tuple(json.dumps({"model": "m", **bases, **probe}).encode() for probe in PROBES[dialect].values())


@lru_cache
def messages() -> tuple[bytes, ...]:
    """Binary event streams."""
    headers: dict[str, eventstream.HeaderValue] = {":event-type": "chunk", "n": 7, "yes": True, "raw": b"\0"}
    one = eventstream.encode(eventstream.Message(headers, b'{"bytes":"e30="}'))
    return one, one * 3, eventstream.encode(eventstream.Message()), b""


FORMS: Final = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n\0\r\n\r\n--c\r\n--b--\r\n',
    b"preamble\r\n--b \r\ncontent-disposition:form-data;name=a\r\n\r\n\r\n--b--epilogue",
)
ARRAYS: Final = (b"[]", b'[{"a":[1,{"b":"]"}]},\n{"c":"\\"}"}]', b'[[1],"x",5,{}]', b" [ { } , { } ] ")


def spoiled_value(draw: Draw, value: Any) -> Any:
    """The value with something in it replaced by, or joined with, what does not belong there."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return draw(st.sampled_from(ODD))
        holder, key = draw(st.sampled_from(places))
        what = draw(st.integers(0, 3))
        if what == 0 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif what == 1:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        for key, inner in one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ():
            found.append((one, key))
            waiting.append(inner)
    return found


def spoiled_bytes(draw: Draw, text: bytes) -> bytes:
    """The bytes with some of them gone, twice there, or others between."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        upto = min(len(text), at + draw(st.integers(0, 40)))
        match draw(st.integers(0, 3)):
            case 0:
                text = text[:at] + text[upto:]
            case 1:
                text = text[:upto] + text[at:]
            case 2:
                text = text[:at] + draw(st.sampled_from(TOKENS)) + text[at:]
            case _:
                text = text[:at] + draw(st.binary(max_size=4)) + text[upto:]
    return text


def spoiled_json(draw: Draw, text: bytes) -> bytes:
    """A JSON text with values out of place, or with broken bytes."""
    if draw(st.booleans()):
        return spoiled_bytes(draw, text)
    return json.dumps(spoiled_value(draw, json.loads(text))).encode()


def spoiled_stream(draw: Draw, text: bytes) -> bytes:
    """A stream with frames out of place, odd values in frames, or broken bytes."""
    frames = [frame + b"\n\n" for frame in text.replace(b"\r\n", b"\n").split(b"\n\n") if frame]
    for _ in range(draw(st.integers(0, 3))):
        if not frames:
            break
        at = draw(st.integers(0, len(frames) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                del frames[at]
            case 1:
                frames.insert(draw(st.integers(0, len(frames))), frames[at])
            case _:
                head, mark, data = frames[at].partition(b"data: ")
                if mark and data[:1] == b"{":
                    value = spoiled_value(draw, json.loads(data))
                    frames[at] = head + mark + json.dumps(value).encode() + b"\n\n"
    return spoiled_bytes(draw, b"".join(frames)) if draw(st.booleans()) else b"".join(frames)


def cut(draw: Draw, text: bytes) -> list[bytes]:
    """The bytes in pieces: of one size, or at a few places; empty pieces included."""
    if draw(st.booleans()):
        size = draw(st.sampled_from((1, 2, 3, 7, 64)))
        return [text[at : at + size] for at in range(0, len(text), size)]
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
