"""One content block while it is read from a stream: its start, its deltas, its end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gproxy.canonical.part import Opaque, ServerToolCall, Text, Thinking, ToolCall
from gproxy.protocols.anthropic_messages.content import OWN, block, citation, signature_of
from gproxy.protocols.assembly import Growing
from gproxy.protocols.reading import of_own
from gproxy.wire.json import JsonProblem, dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.canonical.events import Event
    from gproxy.canonical.part import Part


class Block:
    """One content block while it streams. `part` is what is known of it."""

    __slots__ = ("_growing", "_index", "_input", "_pieces", "part")

    def __init__(self, part: Part, index: int, given: Any) -> None:
        self.part = part
        self._index = index
        self._input = given
        self._growing: Growing | None = None
        self._pieces: dict[str, list[Any]] = {}

    @classmethod
    def of(cls, item: dict[str, Any], index: int, spare_id: str) -> Block | None:
        """The block that a start announces; None when the start makes no sense."""
        try:
            part = block(item, "content_block", {}, spare_id)
        except JsonProblem:
            return None
        match part:
            case Text() if "type" not in of_own(part.extras, OWN):
                part = replace(part, text="", citations=())
            case Thinking():
                part = replace(part, text="", signature=None)
            case ToolCall() | ServerToolCall():
                part = replace(part, arguments="")
            case _:
                pass
        return cls(part, index, item.get("input"))

    def begin(self, item: dict[str, Any]) -> list[Event]:
        """The events of the start, with whatever content it holds already."""
        self._growing = growing = Growing(0, self._index, self.part)
        events = [growing.opened()]
        match self.part:
            case Text(text=""):
                events += self.delta({"type": "text_delta", "text": item.get("text")})
                cited = item.get("citations")
                for one in cited if isinstance(cited, list) else ():
                    events += self.delta({"type": "citations_delta", "citation": one})
            case Thinking():
                events += self.delta({"type": "thinking_delta", "thinking": item.get("thinking")})
                events += self.delta({"type": "signature_delta", "signature": item.get("signature")})
            case _:
                pass
        return events

    def delta(self, delta: dict[str, Any]) -> list[Event]:
        """More of it."""
        growing = self._growing
        assert growing is not None
        match delta.get("type"):
            case "text_delta":
                said = delta.get("text")
                return growing.text(said) if isinstance(said, str) else []
            case "input_json_delta":
                said = delta.get("partial_json")
                return growing.arguments(said) if isinstance(said, str) else []
            case "thinking_delta":
                said = delta.get("thinking")
                return growing.text(said) if isinstance(said, str) else []
            case "signature_delta":
                signature = signature_of(delta.get("signature"))
                return [] if signature is None else growing.signed(signature)
            case "citations_delta":
                cited = delta.get("citation")
                return growing.cited(citation(cited)) if isinstance(cited, dict) else []
            case _:
                for key, value in delta.items() if isinstance(self.part, Opaque) else ():
                    if key != "type":
                        self._pieces.setdefault(key, []).append(value)
                return []

    def close(self, *, cut: bool = False) -> list[Event]:
        """The events of its end. Input that came whole, or never, is told here, unless the stream was cut."""
        growing = self._growing
        assert growing is not None
        events: list[Event] = []
        if isinstance(self.part, Opaque) and self._pieces:
            growing.part = _grown(self.part, self._pieces)
        if isinstance(self.part, ToolCall | ServerToolCall) and not growing.has_arguments and not cut:
            given = self._input
            events = growing.arguments(dumps({} if given is None else given).decode())
        return [*events, growing.closed()]


def _grown(part: Opaque, pieces: Mapping[str, list[Any]]) -> Opaque:
    """An unknown block after unknown deltas: texts are continued, anything else is replaced."""
    payload = dict(part.payload)
    for key, values in pieces.items():
        known = payload.get(key)
        said = [value for value in (known, *values) if value is not None]
        whole = all(isinstance(value, str) for value in said)
        payload[key] = "".join(said) if said and whole else values[-1]
    return replace(part, payload=payload)
