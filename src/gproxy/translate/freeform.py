"""Custom tools on a road to where there are none: functions on the way there, themselves again on the way back.

What the client declared decides: a call of a function that stands in for a custom tool is a call of that tool. So
the client sees its own tool in whole answers, in streams, and in the histories that it sends next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gproxy.canonical.events import ArgumentsDelta, Event, PartClosed, PartOpened
from gproxy.canonical.loss import Losses
from gproxy.canonical.part import NO_EXTRAS, Part, ToolCall, ToolResult
from gproxy.canonical.request import CustomTool, Request, Turn
from gproxy.canonical.response import Response
from gproxy.protocols.freeform import Unwrapping, as_function, unwrapped, wrapped


def names(request: Request) -> frozenset[str]:
    """The custom tools that a request declares."""
    return frozenset(tool.name for tool in request.tools or () if isinstance(tool, CustomTool))


def lowered(request: Request, losses: Losses) -> Request:
    """The request without custom tools; itself when it has none, in its tools or in its history."""
    turns = tuple(map(_turn, request.turns))
    kept = all(now is was for now, was in zip(turns, request.turns, strict=True))
    tools, choice = request.tools, request.tool_choice
    if names(request):
        tools = tuple(
            as_function(tool, losses, f"tools.{i}") if isinstance(tool, CustomTool) else tool
            for i, tool in enumerate(tools or ())
        )
        if choice is not None and choice.extras:
            choice = replace(choice, extras=NO_EXTRAS)  # the wire's own object may call them custom
    elif kept:
        return request
    return replace(request, turns=request.turns if kept else turns, tools=tools, tool_choice=choice)


def _turn(turn: Turn) -> Turn:
    parts = tuple(map(_part, turn.parts))
    return turn if all(now is was for now, was in zip(parts, turn.parts, strict=True)) else replace(turn, parts=parts)


def _part(part: Part) -> Part:
    match part:
        case ToolCall(custom=True):
            return replace(part, arguments=wrapped(part.arguments), custom=False, extras=NO_EXTRAS)
        case ToolResult(custom=True):
            return replace(part, custom=False, extras=NO_EXTRAS)
        case _:
            return part


class Restoring:
    """Makes calls of these functions calls of the custom tools again, for one answer."""

    __slots__ = ("_names", "_open")

    def __init__(self, tools: frozenset[str]) -> None:
        self._names = tools
        self._open: dict[tuple[int, int], _Growing] = {}

    def response(self, response: Response) -> Response:
        """A whole answer."""
        choices = tuple(
            replace(choice, parts=tuple(self._whole(part) if self._is(part) else part for part in choice.parts))
            for choice in response.choices
        )
        return replace(response, choices=choices)

    def events(self, events: Iterable[Event]) -> list[Event]:
        """Events of a stream; arguments are unwrapped as they come."""
        found: list[Event] = []
        for event in events:
            match event:
                case PartOpened(choice, index, ToolCall() as call) if self._is(call):
                    self._open[choice, index] = growing = _Growing()
                    found.append(PartOpened(choice, index, replace(call, arguments="", custom=True)))
                    found += _delta(choice, index, growing.feed(call.arguments))
                case ArgumentsDelta(choice, index, text) if (choice, index) in self._open:
                    found += _delta(choice, index, self._open[choice, index].feed(text))
                case PartClosed(choice, index, ToolCall() as call) if (choice, index) in self._open:
                    growing = self._open.pop((choice, index))
                    found += _delta(choice, index, growing.rest(call.arguments))
                    found.append(PartClosed(choice, index, replace(call, arguments=growing.said, custom=True)))
                case _:
                    found.append(event)
        return found

    def _is(self, part: Part) -> bool:
        return isinstance(part, ToolCall) and not part.custom and part.name in self._names

    @staticmethod
    def _whole(part: Part) -> Part:
        assert isinstance(part, ToolCall)
        return replace(part, arguments=unwrapped(part.arguments), custom=True)


class _Growing:
    """One call while it is written: what of its input has been passed on."""

    __slots__ = ("_pieces", "_unwrapping")

    def __init__(self) -> None:
        self._unwrapping = Unwrapping()
        self._pieces: list[str] = []

    @property
    def said(self) -> str:
        return "".join(self._pieces)

    def feed(self, piece: str) -> str:
        text = self._unwrapping.feed(piece)
        if text:
            self._pieces.append(text)
        return text

    def rest(self, arguments: str) -> str:
        """What the whole arguments say beyond that; what was passed on already cannot be taken back."""
        whole, said = unwrapped(arguments), self.said
        rest = whole[len(said) :] if whole.startswith(said) else ""
        self._pieces.append(rest)
        return rest


def _delta(choice: int, index: int, text: str) -> list[Event]:
    return [ArgumentsDelta(choice, index, text)] if text else []
