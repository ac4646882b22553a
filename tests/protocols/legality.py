"""What `canonical.events` promises, checked on a list of events."""

from __future__ import annotations

from collections.abc import Sequence

from gproxy.canonical.events import (
    ArgumentsDelta,
    AudioDelta,
    ChoiceFinished,
    CitationDelta,
    Event,
    Failed,
    Finished,
    PartClosed,
    PartOpened,
    SignatureDelta,
    Started,
    TextDelta,
)
from gproxy.canonical.part import Refusal, Text, Thinking, ToolCall


def check(events: Sequence[Event]) -> None:
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished | Failed)
    assert sum(isinstance(e, Started) for e in events) == 1
    assert sum(isinstance(e, Finished | Failed) for e in events) == 1
    opened: dict[int, int] = {}
    growing: dict[tuple[int, int], str] = {}
    done: set[int] = set()
    for event in events:
        match event:
            case PartOpened(choice, index):
                assert index == opened.get(choice, 0), "parts open in order"
                assert choice not in done
                opened[choice] = index + 1
                growing[choice, index] = ""
            case TextDelta(choice, index, text) | ArgumentsDelta(choice, index, text):
                assert text
                growing[choice, index] += text
            case SignatureDelta(choice, index) | CitationDelta(choice, index) | AudioDelta(choice, index):
                assert (choice, index) in growing
            case PartClosed(choice, index, part):
                said = growing.pop((choice, index))
                match part:
                    case Text(text) | Thinking(text) | Refusal(text):
                        assert text == said
                    case ToolCall(call_id, name, arguments):
                        assert call_id
                        assert name
                        assert arguments == said
                    case _:
                        pass
            case ChoiceFinished(choice):
                assert choice not in done
                assert not [key for key in growing if key[0] == choice], "finished with a part open"
                done.add(choice)
            case _:
                pass
    assert not growing
