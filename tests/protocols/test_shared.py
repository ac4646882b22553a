"""What all dialects lean on: reading fields, signatures in foreign hands, effort words, assembly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.canonical.events import Failed, PartClosed, PartOpened, Started
from gproxy.canonical.failure import VendorError
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Audio, Citation, CitationKind, Inline, Signature, Text, Thinking, ToolCall
from gproxy.canonical.request import Effort
from gproxy.canonical.response import Choice, Logprobs, Response, Stop, StopReason, TokenChance
from gproxy.canonical.usage import Usage
from gproxy.protocols import reading
from gproxy.protocols.assembly import Assembler, Growing, as_events
from gproxy.protocols.effort import BUDGETS, budget_of, effort_of
from gproxy.protocols.figures import count, first_count, within
from gproxy.protocols.registry import DIALOGUES
from gproxy.protocols.signatures import seal, unseal
from gproxy.wire.json import JsonProblem
from tests.protocols import legality

CHAT, CLAUDE = Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES


@given(st.text(), st.sampled_from(list(Dialect)), st.sampled_from(list(Dialect)))
def test_signatures_come_back_whose_they_were(value: str, origin: Dialect, own: Dialect) -> None:
    signature = Signature(origin, value)
    sealed = seal(signature, own)
    if origin is own:
        assert sealed == value
    if origin is not own or not value.startswith("gproxy."):
        assert unseal(sealed, own) == signature


def test_a_tag_of_nobody_is_part_of_the_signature() -> None:
    for text in ("gproxy.nobody:x", "gproxy.", "gproxy.gemini"):
        assert unseal(text, CLAUDE) == Signature(CLAUDE, text)


def test_a_budget_made_from_a_word_gives_that_word_again() -> None:
    for effort in (Effort.NONE, Effort.MINIMAL, Effort.LOW, Effort.MEDIUM, Effort.HIGH):
        assert effort_of(budget_of(effort)) is effort
    assert list(BUDGETS.values()) == sorted(BUDGETS.values())
    assert effort_of(10**9) is Effort.HIGH


def test_counts() -> None:
    assert [count(v) for v in (1, "2", 3.0, 0)] == [1, 2, 3, 0]
    nonsense: list[object] = [None, -1, True, 1.5, "x", "-1", "²", [], 1e400, float("nan"), 2**63, 1e12, "99999999999"]
    assert [count(value) for value in nonsense] == [None] * len(nonsense)
    assert first_count(None, "x", 4, 5) == 4


def test_parts_never_exceed_their_total() -> None:
    found = within(10, 5, cache_read=8, cache_write=8, cache_write_1h=9, reasoning=6, audio_input=3, audio_output=9)
    assert found == Usage(0, 5, 8, 0, 2, 5, 0, 5)
    assert found.total == 15


@pytest.mark.parametrize(
    ("read", "value", "what"),
    [
        (reading.text, 1, "a string"),
        (reading.required_text, "", "a non-empty string"),
        (reading.flag, "true", "true or false"),
        (reading.number, True, "a number"),
        (reading.integer, 1.5, "an integer"),
        (reading.table, [], "an object"),
        (reading.array, {}, "an array"),
        (reading.tables, 1, "an array"),
        (reading.texts, [1], "a string or an array of strings"),
    ],
)
def test_complaints_name_field_and_type(read: object, value: object, what: str) -> None:
    assert callable(read)
    with pytest.raises(JsonProblem) as problem:
        read({"x": value}, "x", "a[1]")
    assert problem.value.text == f"`a[1].x` must be {what}"
    if read is not reading.required_text:
        assert read({"x": None}, "x") is None


def test_every_kind_of_part_grows_whole() -> None:
    signature = Signature(CLAUDE, "s")
    citation = Citation(CitationKind.URL, "u")
    answer = Response(
        "r",
        "m",
        (
            Choice(
                0,
                (
                    Thinking("hm", signature),
                    Text("ab", (citation,), signature),
                    ToolCall("c", "f", "{}", signature=signature),
                    Audio(Inline("QQ==", "audio/wav"), transcript="t"),
                ),
                Stop(StopReason.TOOL_CALLS),
                Logprobs((TokenChance("a", -0.1),)),
            ),
            Choice(1, (), Stop(StopReason.LENGTH)),
        ),
        Usage(input=1, output=2),
    )
    events = as_events(answer)
    legality.check(events)
    assembler = Assembler()
    for event in events:
        assembler.take(event)
    back = assembler.response()
    assert (back.id, back.model, back.usage) == ("r", "m", answer.usage)
    signed_call = back.choices[0].parts[2]
    assert signed_call == ToolCall("c", "f", "{}", signature=signature)
    assert back.choices == answer.choices


def test_parts_that_close_out_of_order_stand_in_order() -> None:
    first, second = Growing(0, 0, ToolCall("a", "f")), Growing(0, 1, ToolCall("b", "g"))
    assembler = Assembler()
    for event in (
        Started("r", "m"),
        first.opened(),
        second.opened(),
        second.closed(),
        first.closed(),
        Failed(VendorError("x")),
    ):
        assert not isinstance(event, PartOpened | PartClosed) or event.choice == 0
        assembler.take(event)
    found = assembler.response()
    assert [part.id for part in found.choices[0].parts if isinstance(part, ToolCall)] == ["a", "b"]
    assert found.error == VendorError("x")
    assert found.choices[0].stop is None


def test_the_registry_holds_each_dialect_under_its_own_name() -> None:
    for dialect, dialogue in DIALOGUES.items():
        assert dialogue.dialect is dialect
