"""One content block while it is read from a stream: its start, its deltas, its end.

Texts, thinking and calls grow before the reader's eyes. Redacted thinking, pictures and the results of the service's
own tools come in pieces too, but mean nothing before they are whole; they open and close at their end. Parts are
numbered as they open, by the `number` that the stream hands in.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gproxy.canonical.part import RedactedThinking, ServerToolCall, Signature, Text, Thinking, ToolCall
from gproxy.protocols.assembly import Growing
from gproxy.protocols.bedrock_converse.content import (
    OWN,
    call,
    citation,
    image,
    joined,
    result,
    signature_of,
    text_of,
)
from gproxy.protocols.figures import part_of

if TYPE_CHECKING:
    from gproxy.canonical.events import Event
    from gproxy.canonical.part import Part

Number: TypeAlias = Callable[[], int]
"""Gives the number of the next part."""

_IMPLIED: Final[Mapping[str, Part]] = {
    "text": Text(""),
    "citation": Text(""),
    "reasoningContent.text": Thinking(""),
    "reasoningContent.signature": Thinking(""),
}
_REDACTED: Final = "reasoningContent.redactedContent"


class Shown:
    """A block that grows as it comes."""

    __slots__ = ("_growing",)

    def __init__(self, part: Part, number: Number) -> None:
        self._growing = Growing(0, number(), part)

    def fits(self, kind: str) -> bool:
        """Whether a delta of this kind belongs to it."""
        match self._growing.part:
            case Text():
                return kind in ("text", "citation")
            case Thinking():
                return kind in ("reasoningContent.text", "reasoningContent.signature")
            case _:
                return kind == "toolUse"

    def begin(self) -> list[Event]:
        """The event of its start."""
        return [self._growing.opened()]

    def delta(self, kind: str, value: Any) -> list[Event]:
        """More of it."""
        match kind:
            case "citation":
                return self._cited(value) if isinstance(value, dict) else []
            case "toolUse":
                return self._growing.arguments(text_of(part_of(value, "input")))
            case "reasoningContent.signature":
                signature = signature_of(value)
                return [] if signature is None else self._growing.signed(signature)
            case _:
                return self._growing.text(text_of(value))

    def _cited(self, value: dict[str, Any]) -> list[Event]:
        return self._growing.cited(citation(value))

    def close(self, *, cut: bool = False) -> list[Event]:
        """Its end. A call without arguments has none, unless the stream was cut before they came."""
        growing, events = self._growing, []
        if isinstance(growing.part, ToolCall | ServerToolCall) and not growing.has_arguments and not cut:
            events = growing.arguments("{}")
        return [*events, growing.closed()]


class Held:
    """A block that is told when it is whole."""

    __slots__ = ("_kind", "_made", "_number", "_pieces")

    def __init__(self, kind: str, number: Number, made: Callable[[list[Any]], Part | None]) -> None:
        self._kind = kind
        self._number = number
        self._made = made
        self._pieces: list[Any] = []

    def fits(self, kind: str) -> bool:
        """Whether a delta of this kind belongs to it."""
        return kind == self._kind

    def begin(self) -> list[Event]:
        """Nothing yet."""
        return []

    def delta(self, kind: str, value: Any) -> list[Event]:
        """More of it."""
        del kind
        self._pieces.append(value)
        return []

    def close(self, *, cut: bool = False) -> list[Event]:
        """The whole of it; nothing when it was cut, for half of it is none."""
        part = None if cut else self._made(self._pieces)
        if part is None:
            return []
        growing = Growing(0, self._number(), part)
        return [growing.opened(), growing.closed()]


def started(start: dict[str, Any], number: Number, spare_id: str) -> Shown | Held | None:
    """The block that a start announces; None when it makes no sense."""
    kind, value = next(iter(start.items()), ("", None))
    if not isinstance(value, dict):
        return None
    match kind:
        case "toolUse":
            return Shown(call(value, spare_id, ""), number)
        case "toolResult":
            return Held(kind, number, lambda pieces: result({**value, "content": _flat(pieces)}))
        case "image":
            return Held(kind, number, lambda pieces: image(value.get("format"), _bytes(pieces), {kind: value}))
        case _:
            return None


def implies(kind: str) -> bool:
    """Whether a delta of this kind needs no start: it begins its block itself. Input without a call does not."""
    return kind in _IMPLIED or kind == _REDACTED


def implied(kind: str, number: Number) -> Shown | Held:
    """The block that a delta without a start begins."""
    part = _IMPLIED.get(kind)
    return Held(kind, number, _redacted) if part is None else Shown(part, number)


def kind_of(delta: dict[str, Any]) -> tuple[str, Any]:
    """What a delta is more of, and the value; thinking is told apart by what of it comes."""
    kind, value = next(iter(delta.items()), ("", None))
    if kind == "reasoningContent" and isinstance(value, dict):
        inner, value = next(iter(value.items()), ("", None))
        return f"{kind}.{inner}", value
    return kind, value


def _redacted(pieces: list[Any]) -> Part | None:
    data = _together([text_of(piece) for piece in pieces])
    return RedactedThinking(Signature(OWN, data)) if data else None


def _bytes(pieces: list[Any]) -> str:
    return _together([text_of(part_of(part_of(piece, "source"), "bytes")) for piece in pieces])


def _together(pieces: list[str]) -> str:
    """Bytes that came in pieces, each in base64 of its own."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode("ascii")
    except ValueError:
        return ""


def _flat(pieces: list[Any]) -> list[Any]:
    """The items of a result: texts go on from piece to piece."""
    items = [item for piece in pieces for item in (piece if isinstance(piece, list) else [piece])]
    texts = joined(items)
    others = [item for item in items if not text_of(part_of(item, "text"))]
    return [*([{"text": texts}] if texts else []), *others]
