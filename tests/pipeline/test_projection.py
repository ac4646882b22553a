from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.ledger.pricing import RateCard
from gproxy.pipeline import projection
from gproxy.pipeline.projection import (
    DEFAULT_MAX_OUTPUT,
    IMAGE_TOKENS,
    MAX_INPUT_TOKENS,
    PREAMBLE,
    TOOL_PREAMBLE,
    UNSEEN_TOKENS,
    Projection,
    Tariff,
    cap_edit,
    dearest,
    input_bound,
    largest_cap,
    project,
    stated_cap,
)
from gproxy.wire.json import patch
from gproxy.wire.peek import peek

CHAT, RESPONSES, MESSAGES, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI,
)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


def cap(dialect: Dialect, **fields: Any) -> int | None:
    raw = body(**fields)
    return stated_cap(dialect, peek(raw), raw)


def bound(dialect: Dialect = CHAT, operation: Operation = Operation.GENERATE, **fields: Any) -> Projection:
    raw = body(**fields)
    return project(operation, dialect, peek(raw), raw, 5_000)


def said(content: Any) -> int:
    """The bound on the input beyond the bytes of the body."""
    raw = body(messages=[{"role": "user", "content": content}])
    return input_bound(raw) - len(raw) - PREAMBLE


NAMES = ("type", "image_url", "source", "data", "inlineData", "file_data", "mimeType", "content", "url", "x")
KINDS = (
    "text",
    "image",
    "image_url",
    "input_image",
    "input_file",
    "document",
    "video",
    "base64",
    "data:x",
    "image/png",
)
trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(KINDS), st.text(max_size=8)),
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(st.sampled_from(NAMES), below, max_size=5)),
    max_leaves=24,
)


def parts_in(value: Any) -> list[dict[str, Any]]:
    """Every object in the tree, found the plain way."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [*([value] if isinstance(value, dict) else []), *(part for one in below for part in parts_in(one))]


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), trees, max_size=5))
def test_the_short_way_through_a_body_misses_no_part(tree: dict[str, Any]) -> None:
    raw = json.dumps(tree).encode()
    assert input_bound(raw) == len(raw) + PREAMBLE + sum(projection._part(part) for part in parts_in(tree))


@given(st.text())
def test_a_text_is_never_more_tokens_than_its_bytes(text: str) -> None:
    raw = json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=True).encode()
    assert input_bound(raw) >= len(text.encode("utf-8", "surrogatepass"))


def test_only_the_field_that_the_vendor_reads_is_a_cap() -> None:
    assert cap(CHAT, max_tokens=5) == 5
    assert cap(CHAT, max_tokens=5, max_completion_tokens=9) == 9
    assert cap(CHAT, max_output_tokens=1) is None
    assert cap(CHAT, max_tokens=0) is None
    assert cap(RESPONSES, max_output_tokens=7) == 7
    assert cap(RESPONSES, max_tokens=7) is None
    assert cap(MESSAGES, max_tokens=7) == 7
    assert cap(MESSAGES, max_completion_tokens=7) is None
    assert cap(GEMINI, generationConfig={"maxOutputTokens": 7}) == 7
    assert cap(GEMINI, generation_config={"max_output_tokens": 8}) == 8
    assert cap(GEMINI, max_output_tokens=1, generationConfig={}) is None


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, GEMINI])
def test_a_cap_that_is_put_in_is_read_back(dialect: Dialect) -> None:
    raw = patch(body(generationConfig={"temperature": 1}), cap_edit(dialect, 300))
    assert stated_cap(dialect, peek(raw), raw) == 300


def test_every_answer_that_is_asked_for_counts() -> None:
    assert bound(n=3, max_tokens=10).tokens(10) - bound(max_tokens=10).tokens(10) == 20 + len(', "n": 3')
    several = bound(Dialect.OPENAI_COMPLETIONS, Operation.COMPLETE, prompt=["a", "b", "c"], n=2, max_tokens=10)
    assert (several.answers, several.output) == (6, 10)
    tokens = bound(Dialect.OPENAI_COMPLETIONS, Operation.COMPLETE, prompt=[1, 2, 3], max_tokens=10)
    assert tokens.answers == 1
    assert bound(generationConfig={"candidateCount": 4}, dialect=GEMINI).answers == 4


def test_without_a_cap_it_is_the_longest_answer_of_the_models() -> None:
    assert (bound().output, bound().stated) == (5_000, False)
    assert bound(operation=Operation.EMBED).output == 0
    assert bound(operation=Operation.CREATE_IMAGE, n=2).tokens(10**9) > 2 * 6_240


def test_pictures_count_as_the_dearest_picture_and_not_as_their_bytes() -> None:
    data = "data:image/png;base64," + "A" * 400_000
    shapes: list[tuple[Any, int]] = [
        ({"type": "image_url", "image_url": {"url": data}}, len(data)),
        ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, 0),
        ({"type": "input_image", "image_url": data}, len(data)),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 99}}, 99),
        ({"inlineData": {"mimeType": "image/png", "data": "A" * 99}}, 99),
        ({"inline_data": {"mime_type": "image/png", "data": "A" * 99}}, 99),
    ]
    for part, inlined in shapes:
        assert said([part]) == IMAGE_TOKENS - inlined, part
    assert said([shapes[1][0]] * 3) == 3 * IMAGE_TOKENS


def test_what_is_not_in_the_request_counts_as_a_whole_context() -> None:
    for part in (
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        {"fileData": {"fileUri": "https://x/y", "mimeType": "application/pdf"}},
    ):
        assert said([part]) >= UNSEEN_TOKENS
    for name in ("previous_response_id", "conversation", "cachedContent"):
        assert input_bound(body(**{name: "x"})) > UNSEEN_TOKENS
    assert project(Operation.GENERATE, CHAT, peek(body()), body() + b" " * 3_000_000, 1).input == MAX_INPUT_TOKENS


def test_an_escape_hides_nothing() -> None:
    raw = rb'{"model":"m","previous_response\u005fid":"x"}'
    assert input_bound(raw) > UNSEEN_TOKENS


def test_tools_bring_a_hidden_prompt_and_hosted_ones_whole_pages() -> None:
    def tools(*given: Any) -> int:
        raw = body(tools=list(given))
        return input_bound(raw) - len(raw) - PREAMBLE

    assert tools({"type": "function", "function": {"name": "f"}}) == TOOL_PREAMBLE
    assert tools({"name": "f", "input_schema": {"type": "object"}}) == TOOL_PREAMBLE
    assert tools({"functionDeclarations": []}) == TOOL_PREAMBLE
    assert tools({"type": "bash_20250124", "name": "bash"}) == TOOL_PREAMBLE
    assert tools({"type": "web_search_20250305", "name": "web_search"}) == TOOL_PREAMBLE + UNSEEN_TOKENS
    assert tools({"googleSearch": {}}) == TOOL_PREAMBLE + UNSEEN_TOKENS


def test_json_in_the_text_of_a_message_is_text() -> None:
    assert said('{"type":"image_url"}') == 0


cards = st.builds(
    lambda low, high, out, write, call: RateCard.from_fields(
        {
            "price_each_call": call,
            "price_tiers": [
                {"input_tokens_up_to": 1_000, "price_input_tokens": low, "price_output_tokens": out},
                {"price_input_tokens": high, "price_output_tokens": out, "price_cache_creation_input_tokens_1h": write},
            ],
        }
    ),
    *(st.integers(0, 100) for _ in range(4)),
    st.integers(0, 1),
)


@given(
    st.lists(cards, min_size=1, max_size=3), st.integers(0, 3_000), st.integers(1, 4_000), st.integers(1, 3), st.data()
)
def test_no_answer_within_the_cap_costs_more_than_the_bound(
    tariffs: list[RateCard], read: int, output: int, answers: int, data: st.DataObject
) -> None:
    projection = Projection(read, output, stated=True, answers=answers)
    most = dearest([Tariff(card, DEFAULT_MAX_OUTPUT) for card in tariffs], projection, output, None)
    usage = Usage(
        input=data.draw(st.integers(0, read)), output=data.draw(st.integers(0, output * answers)), cache_write_1h=0
    )
    assert all(card.cost(usage) <= most for card in tariffs)


@given(
    st.lists(cards, min_size=1, max_size=3), st.integers(0, 3_000), st.integers(1, 5_000), st.integers(1, 3), st.data()
)
def test_the_cap_that_fits_is_the_largest(
    given_cards: list[RateCard], read: int, longest: int, answers: int, data: st.DataObject
) -> None:
    tariffs = [Tariff(card, longest) for card in given_cards]
    projection = Projection(read, longest, stated=False, answers=answers)
    least, full = (dearest(tariffs, projection, cap, None) for cap in (0, longest))
    money = data.draw(st.integers(least, full))
    tokens = data.draw(st.none() | st.integers(read, read + longest * answers))
    found = largest_cap(tariffs, projection, None, money=money, tokens=tokens)
    assert dearest(tariffs, projection, found, None) <= money
    assert tokens is None or projection.tokens(found) <= tokens
    if found < longest:
        beyond = dearest(tariffs, projection, found + 1, None) > money
        assert beyond or (tokens is not None and projection.tokens(found + 1) > tokens)


def test_a_short_model_is_not_charged_for_a_long_ones_answer() -> None:
    cheap = RateCard.from_fields({"price": {"output": 1}})
    dear = RateCard.from_fields({"price": {"output": 10}})
    projection = Projection(0, 10_000, stated=False)
    assert dearest([Tariff(cheap, 10_000), Tariff(dear, 100)], projection, 10_000, None) == 10_000 * 1_000
    assert Tariff(None, 10).bound(projection, 10, None) == 0
