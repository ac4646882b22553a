from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.canonical.events import (
    ArgumentsDelta,
    ChoiceFinished,
    CitationDelta,
    Event,
    Failed,
    Finished,
    PartClosed,
    PartOpened,
    Started,
    TextDelta,
    UsageReported,
)
from gproxy.canonical.failure import VendorError
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Citation, CitationKind, Text, Thinking, ToolCall
from gproxy.canonical.response import Stop, StopReason
from gproxy.canonical.usage import Usage
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.guard import ILLEGAL, Guard
from gproxy.translate.legality import Watch
from gproxy.translate.tally import Tally
from tests.protocols.legality import check

CHAT = Dialect.OPENAI_CHAT
START = Started("id", "model")
END = Finished(Usage(input=1, output=2))
STOP = ChoiceFinished(0, Stop(StopReason.END))
CALLS = ChoiceFinished(0, Stop(StopReason.TOOL_CALLS))
CALL = ToolCall("call_1", "add")


def text(index: int = 0, said: str = "hello") -> list[Event]:
    return [PartOpened(0, index, Text("")), TextDelta(0, index, said), PartClosed(0, index, Text(said))]


def call(arguments: str, index: int = 0) -> list[Event]:
    whole = ToolCall("call_1", "add", arguments)
    return [PartOpened(0, index, CALL), ArgumentsDelta(0, index, arguments), PartClosed(0, index, whole)]


def passed(events: Sequence[Event], tally: Tally | None = None) -> list[Event]:
    guard = Guard(CHAT, Tally() if tally is None else tally)
    return [out for event in events for out in guard.take(event)]


GOOD: dict[str, list[Event]] = {
    "text": [START, *text(), STOP, UsageReported(Usage(input=1)), END],
    "call": [START, *call('{"a": 1}'), CALLS, END],
    "no arguments": [START, PartOpened(0, 0, CALL), PartClosed(0, 0, CALL), CALLS, END],
    "a call that was cut off": [START, *call('{"a": '), ChoiceFinished(0, Stop(StopReason.LENGTH)), END],
    "failed": [START, *text(), Failed(VendorError("no"))],
    "free text for a custom tool": [
        START,
        PartOpened(0, 0, ToolCall("c", "run", custom=True)),
        ArgumentsDelta(0, 0, "ls -l"),
        PartClosed(0, 0, ToolCall("c", "run", "ls -l", custom=True)),
        CALLS,
        END,
    ],
}


@pytest.mark.parametrize("events", GOOD.values(), ids=GOOD)
def test_a_good_stream_passes_untouched(events: list[Event]) -> None:
    tally = Tally()
    assert passed(events, tally) == events
    assert not tally


REPAIRED: dict[str, tuple[list[Event], list[Event], str]] = {
    "no start": ([*text(), STOP, END], [Started("", ""), *text(), STOP, END], "no_start"),
    "two starts": ([START, START, *text(), STOP, END], GOOD_TEXT := [START, *text(), STOP, END], "start_twice"),
    "text that nobody opened": ([START, *text()[1:], STOP, END], GOOD_TEXT, "not_open"),
    "a part opened twice": ([START, text()[0], *text(), STOP, END], GOOD_TEXT, "opened_twice"),
    "a part closed twice": ([START, *text(), text()[2], STOP, END], GOOD_TEXT, "closed_twice"),
    "a part left open": ([START, *text()[:2], STOP, END], GOOD_TEXT, "left_open"),
    "a part that only closes": ([START, text()[2], STOP, END], GOOD_TEXT, "not_open"),
    "less said than closed": ([START, text()[0], text()[2], STOP, END], GOOD_TEXT, "missing_delta"),
    "a part out of order": ([START, *text(3), STOP, END], GOOD_TEXT, "index"),
    "no finish": ([START, *text(), END], [START, *text(), ChoiceFinished(0, None), END], "no_finish"),
    "finished twice": ([START, *text(), STOP, STOP, END], GOOD_TEXT, "finished_twice"),
    "text after the finish": ([START, *text(), STOP, *text(1), END], GOOD_TEXT, "after_finish"),
    "something after the end": ([START, *text(), STOP, END, *text(1), END], GOOD_TEXT, "after_end"),
    "nothing at all": ([START, END], [START, ChoiceFinished(0, None), END], "no_finish"),
    "a citation of nothing": (
        [START, *text(), CitationDelta(0, 0, Citation(CitationKind.URL)), STOP, END],
        GOOD_TEXT,
        "not_open",
    ),
    "text for a call": (
        [START, PartOpened(0, 0, CALL), TextDelta(0, 0, "x"), PartClosed(0, 0, CALL), CALLS, END],
        GOOD["no arguments"],
        "wrong_kind",
    ),
}


@pytest.mark.parametrize(("events", "wanted", "rule"), REPAIRED.values(), ids=REPAIRED)
def test_what_is_safe_is_repaired_and_counted(events: list[Event], wanted: list[Event], rule: str) -> None:
    tally = Tally()
    assert passed(events, tally) == wanted
    assert tally.repaired[CHAT, rule] >= 1
    assert not tally.ended


ENDED: dict[str, tuple[list[Event], str]] = {
    "arguments for nobody": ([START, ArgumentsDelta(0, 0, "{}"), CALLS, END], "arguments"),
    "arguments for a text": ([START, text()[0], ArgumentsDelta(0, 0, "{}"), STOP, END], "arguments"),
    "arguments that do not parse": ([START, *call('{"a": '), CALLS, END], "tool_arguments"),
    "arguments that do not parse, no reason given": ([START, *call("{"), END], "tool_arguments"),
}


@pytest.mark.parametrize(("events", "rule"), ENDED.values(), ids=ENDED)
def test_what_is_not_safe_ends_the_stream(events: list[Event], rule: str) -> None:
    tally = Tally()
    out = passed(events, tally)
    assert isinstance(out[-1], Failed)
    assert out[-1].error.code == ILLEGAL
    assert tally.ended == {(CHAT, rule): 1}


PARTS = st.sampled_from([Text(""), Thinking(""), CALL])
EVENTS = st.one_of(
    st.just(START),
    st.builds(PartOpened, st.integers(0, 1), st.integers(0, 2), PARTS),
    st.builds(TextDelta, st.integers(0, 1), st.integers(0, 2), st.sampled_from(["a", "bc"])),
    st.builds(ArgumentsDelta, st.integers(0, 1), st.integers(0, 2), st.sampled_from(["{", "}", "1"])),
    st.builds(PartClosed, st.integers(0, 1), st.integers(0, 2), st.sampled_from([Text("a"), Thinking("a"), CALL])),
    st.builds(ChoiceFinished, st.integers(0, 1), st.sampled_from([None, Stop(StopReason.END)])),
    st.just(END),
    st.just(Failed(VendorError("no"))),
)


@given(st.lists(EVENTS, max_size=14), st.sampled_from(sorted(DIALOGUES)))
def test_whatever_comes_in_what_goes_out_is_legal(events: list[Event], dialect: Dialect) -> None:
    from gproxy.canonical.loss import Losses
    from gproxy.protocols.base import ReplyFacts

    guard = Guard(dialect, Tally())
    out = [passed for event in (*events, END) for passed in guard.take(event)]
    check_order(out)
    encoder = DIALOGUES[dialect].stream_encoder(ReplyFacts("id", "model", 1, include_usage=True), Losses())
    watch = Watch(dialect)
    for event in out:
        watch.look(encoder.encode(event))


def check_order(events: list[Event]) -> None:
    """What `canonical.events` promises, but for closed parts that say something else than their deltas."""
    closed_as_said = [
        PartClosed(event.choice, event.index, said)
        if isinstance(event, PartClosed) and (said := joined(events[:i], event)) is not None
        else event
        for i, event in enumerate(events)
    ]
    check(closed_as_said)


def joined(events: list[Event], closed: PartClosed) -> Text | Thinking | ToolCall | None:
    said = "".join(
        event.text
        for event in events
        if isinstance(event, TextDelta | ArgumentsDelta)
        and (event.choice, event.index) == (closed.choice, closed.index)
    )
    match closed.part:
        case Text():
            return Text(said)
        case Thinking():
            return Thinking(said)
        case ToolCall(call_id, name):
            return ToolCall(call_id, name, said)
        case _:
            return None
