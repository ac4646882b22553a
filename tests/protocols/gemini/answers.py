"""Any answer, as hypothesis makes them; and what of an answer is the same after it was written and read."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace

from hypothesis import strategies as st

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Citation,
    CitationKind,
    Image,
    Inline,
    Part,
    RedactedThinking,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.canonical.usage import Usage
from gproxy.protocols.gemini.names import is_made

_WIRE = st.binary(min_size=1, max_size=9).map(lambda raw: b64encode(raw).decode())
_FOREIGN = st.builds(Signature, st.just(Dialect.ANTHROPIC_MESSAGES), st.text("AZ+/=", min_size=1))
_OWN = st.builds(Signature, st.just(Dialect.GEMINI), _WIRE)
_SIGNATURES = st.none() | _OWN | _FOREIGN
_OBJECTS = st.dictionaries(
    st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.text(max_size=3), max_size=2
)
_ARGUMENTS = _OBJECTS.map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False))


@st.composite
def _cited(draw: st.DrawFn) -> Text:
    said = draw(st.text(min_size=1, max_size=8))
    places = draw(st.lists(st.tuples(st.integers(0, len(said) - 1), st.integers(1, 8)), max_size=2))
    return Text(
        said,
        tuple(
            Citation(CitationKind.URL, f"https://x/{i}", "t", start=start, end=min(start + length, len(said)))
            for i, (start, length) in enumerate(places)
        ),
        draw(_SIGNATURES),
    )


PARTS: st.SearchStrategy[Part] = st.one_of(
    _cited(),
    st.builds(Thinking, st.text(max_size=8), _OWN | _FOREIGN),
    st.builds(Thinking, st.text(min_size=1, max_size=8)),
    st.builds(RedactedThinking, _FOREIGN),
    st.builds(ToolCall, st.text("ab1", min_size=1), st.text("fg", min_size=1), _ARGUMENTS, signature=_SIGNATURES),
    st.builds(Image, st.builds(Inline, _WIRE, st.just("image/png")), signature=_SIGNATURES),
)
_STOPS = st.sampled_from([StopReason.END, StopReason.LENGTH, StopReason.CONTENT_FILTER, StopReason.OTHER])
_USAGE = st.builds(
    lambda i, o, c, r: Usage(input=i, output=o + r, cache_read=c, reasoning=r),
    *[st.integers(0, 99)] * 4,
)


def _answer(choices: list[tuple[list[Part], StopReason]], usage: Usage) -> Response:
    return Response(
        "r", "m", tuple(Choice(i, tuple(parts), Stop(reason)) for i, (parts, reason) in enumerate(choices)), usage
    )


ANSWERS = st.builds(_answer, st.lists(st.tuples(st.lists(PARTS, max_size=5), _STOPS), min_size=1, max_size=2), _USAGE)


def lasting(choice: Choice) -> tuple[list[Part], set[Citation], StopReason | None]:
    """A choice without what the wire does not tell: where one unsigned text ends and the next begins."""
    out: list[Part] = []
    cited: set[Citation] = set()
    offset = 0
    for part in choice.parts:
        if isinstance(part, Text):
            cited |= {
                replace(c, start=(c.start or 0) + offset, end=(c.end or 0) + offset) if c.end is not None else c
                for c in part.citations
            }
            offset += len(part.text)
            part = replace(part, citations=())  # noqa: PLW2901 - they are compared apart
            if part == Text(""):
                continue  # a stream's late citations need a text to stand on
        if isinstance(part, ToolCall) and is_made(part.id):
            part = replace(part, id="made")  # noqa: PLW2901 - it is made from what the answer says
        last = out[-1] if out else None
        if (
            isinstance(part, Text | Thinking)
            and isinstance(last, Text | Thinking)
            and type(last) is type(part)
            and last.signature is None
        ):
            out[-1] = replace(last, text=last.text + part.text, signature=part.signature)
        else:
            out.append(part)
    reason = choice.stop.reason if choice.stop else None
    if reason is StopReason.END and any(isinstance(part, ToolCall) for part in out):
        reason = StopReason.TOOL_CALLS
    return out, cited, reason
