"""A request that names an earlier answer: what it is given, and what it is told when it cannot be."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gproxy.access.principal import Principal
from gproxy.canonical.operation import Dialect, Operation
from gproxy.errors import Kind, Refused
from gproxy.ids import CredentialId, KeyId, UserId, new_id
from gproxy.pipeline.exchange import Exchange, Pin
from gproxy.pipeline.recall import keeping, look_up, may_refer, note, pinned, previous_of, recall, watch
from gproxy.protocols.openai_responses.kept import public_id
from gproxy.routing.plan import Attempt as Step
from gproxy.routing.provider import Credential
from gproxy.routing.route import Resolution
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.translator import Names
from gproxy.wire.peek import peek
from tests.pipeline.keepers import Memory
from tests.pipeline.test_roads import candidate, exchange, provider

KEY = Credential(CredentialId("c"), None, enabled=True, weight=1, fields={})
RESPONSES = Dialect.OPENAI_RESPONSES
OUTPUT: list[Any] = [
    {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
]


def asks(user: str = "alice", dialect: Dialect = RESPONSES, **body: Any) -> Exchange:
    x = exchange(dialect, Operation.GENERATE)
    x.request_id = new_id()
    x.principal = Principal(UserId(user), user, False, KeyId("k"), None, None, (), (), frozenset(), None)
    x.body = json.dumps({"model": "m", **body}).encode()
    return x


def answered(x: Exchange, keeper: Memory) -> str:
    """It was answered and kept; the id that its client knows."""
    keep = keeping(x, keeper)
    assert keep is not None
    keep(json.dumps({"id": public_id(x.request_id), "output": OUTPUT}).encode())
    return public_id(x.request_id)


def recalled(x: Exchange, keeper: Memory) -> Any:
    asked = asyncio.run(recall(x, peek(x.body), keeper))
    assert asked == peek(x.body)
    return json.loads(x.body)


def test_it_is_given_what_came_before_turn_by_turn() -> None:
    keeper = Memory()
    first = asks(input="one")
    one = answered(first, keeper)
    second = asks(input="two", previous_response_id=one)
    recalled(second, keeper)
    assert previous_of(second) == one
    two = answered(second, keeper)
    third = asks(input="three", previous_response_id=two, instructions="x")
    told = recalled(third, keeper)
    assert [item.get("content") for item in told["input"]] == [
        "one", OUTPUT[0]["content"], "two", OUTPUT[0]["content"], "three",
    ]  # fmt: skip
    assert "previous_response_id" not in told
    answered(third, keeper)
    rows = {row.id: row for row in keeper.rows.values()}
    assert json.loads(rows[public_id(third.request_id)].said) == [
        {"type": "message", "role": "user", "content": "three"}
    ]
    assert {row.conversation_id for row in rows.values()} == {one}
    assert rows[public_id(third.request_id)].previous_id == two
    assert previous_of(first) is None


@pytest.mark.parametrize("named", ["resp_" + "0" * 48, "", "anything", 7, None])
def test_what_is_none_of_ours_is_left_alone(named: Any) -> None:
    x = asks(input="x", previous_response_id=named)
    before = x.body
    assert asyncio.run(recall(x, peek(x.body), Memory())).previous_response_id == (
        named if isinstance(named, str) else None
    )
    assert x.body is before
    assert x.continues is None


def refused(x: Exchange, keeper: Memory) -> Any:
    before = x.body
    with pytest.raises(Refused) as told:
        asyncio.run(recall(x, peek(x.body), keeper))
    assert x.body is before
    return told.value.failure


def test_refusals_name_the_field_and_the_fix() -> None:
    keeper = Memory()
    one = answered(asks(input="one"), keeper)
    for other in (
        asks("bob", input="x", previous_response_id=one),
        asks(input="x", previous_response_id=public_id(new_id())),
    ):
        told = refused(other, keeper)
        assert (told.status, told.param) == (400, "previous_response_id")
        assert "there is no kept response" in told.text
    x = asks(input="x", previous_response_id=one)
    keeper.on = False
    assert "keeps none" in (refused(asks("bob", input="x", previous_response_id=one), keeper)).text
    keeper.on = True
    keeper.most = 1
    assert "too long" in (refused(x, keeper)).text
    keeper.most = 1 << 20
    gone = asks(input="two", previous_response_id=one)
    recalled(gone, keeper)
    two = answered(gone, keeper)
    asyncio.run(keeper.forget("alice", next(iter(keeper.rows))[1]))
    assert "was deleted" in (refused(asks(input="x", previous_response_id=two), keeper)).text
    keeper.away = True
    told = refused(x, keeper)
    assert (told.kind, told.status) == (Kind.OVERLOADED, 503)
    assert told.retry_after


def test_input_that_is_none_is_named() -> None:
    keeper = Memory()
    one = answered(asks(input="one"), keeper)
    told = refused(asks(input=7, previous_response_id=one), keeper)
    assert (told.status, told.param) == (400, "input")


def test_only_clients_that_can_ask_for_it_have_answers_kept() -> None:
    keeper = Memory()
    assert keeping(asks(dialect=Dialect.OPENAI_CHAT), keeper) is None
    keeper.on = False
    assert keeping(asks(), keeper) is None


def test_what_cannot_be_read_is_not_kept() -> None:
    keeper = Memory()
    keep = keeping(asks(input="x"), keeper)
    assert keep is not None
    keep(b"data: {}\n\n")
    x = asks(input="x")
    x.body = b"[1"
    broken = keeping(x, keeper)
    assert broken is not None
    broken(b'{"output":[]}')
    assert not keeper.rows


# --- answers of vendors that speak the dialect themselves ---


def step_at(channel: str) -> Step:
    one = provider(channel)
    return Step(1, candidate(one), one.credentials[0])


def passing(x: Exchange, keeper: Memory, channel: str, *, body: bytes = b"", chunks: tuple[bytes, ...] = ()) -> bytes:
    """An answer passes through, whole or as a stream; what the client got before it was noted."""
    names = Names(asked="mine", upstream="theirs")
    made = Passthrough(RESPONSES, names, streams=bool(chunks), include_usage=None)
    step = step_at(channel)
    if not chunks:
        made.answer(body)
        note(x, step, made, body, keeper)
        return b""
    watch(x, step, made, keeper)
    seen = b""
    for chunk in chunks:
        out = made.feed(chunk)
        if keeper.rows:
            return seen
        seen += out
    made.end()
    return seen


def whole(**more: Any) -> bytes:
    return json.dumps({"id": "resp_theirs", "object": "response", "model": "theirs", "output": OUTPUT, **more}).encode()


def streamed(kind: str = "response.completed") -> tuple[bytes, ...]:
    frames = [
        {"type": "response.created", "response": json.loads(whole())},
        {"type": kind, "response": json.loads(whole())},
    ]
    return tuple(f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n".encode() for frame in frames)


@pytest.mark.parametrize("chunks", [(), streamed()], ids=["whole", "stream"])
def test_of_a_vendor_that_keeps_its_answers_only_the_place_is_kept(chunks: tuple[bytes, ...]) -> None:
    keeper = Memory()
    x = asks(input="one")
    passing(x, keeper, "openai", body=whole(), chunks=chunks)
    (row,) = keeper.rows.values()
    assert (row.id, row.user_id, row.provider_name, row.credential_id) == ("resp_theirs", "alice", "openai", "c")
    assert (row.said, row.answer, row.previous_id) == ("", "", None)
    later = asks(input="two", previous_response_id="resp_theirs")
    before = later.body
    asyncio.run(recall(later, peek(later.body), keeper))
    assert later.body is before
    assert later.pin == Pin("resp_theirs", "openai", "c")
    told = refused(asks("bob", input="x", previous_response_id="resp_theirs"), keeper)
    assert "there is no kept response" in told.text


@pytest.mark.parametrize("chunks", [(), streamed(), streamed("response.incomplete")], ids=["whole", "stream", "cut"])
def test_for_a_vendor_that_keeps_none_they_are_kept_before_the_client_sees_the_end(chunks: tuple[bytes, ...]) -> None:
    keeper = Memory()
    x = asks(input="one", store=True)
    assert b"response.completed" not in passing(x, keeper, "groq", body=whole(), chunks=chunks)
    (row,) = keeper.rows.values()
    assert (row.id, row.provider_name, json.loads(row.answer)["model"]) == ("resp_theirs", None, "mine")
    later = asks(input="two", previous_response_id="resp_theirs")
    assert len(recalled(later, keeper)["input"]) == 3


def test_nothing_is_noted_of_what_cannot_be_gone_on_from() -> None:
    keeper = Memory()
    for x, body, chunks in (
        (asks(input="x", store=False), whole(), ()),
        (asks(input="x", store=False), b"", streamed()),
        (asks(input="x"), b"", streamed("response.failed")),
        (asks(input="x"), b"", streamed()[:1]),
        (asks(input="x"), whole(id=None), ()),
        (asks(input="x"), whole(id="r" * 201), ()),
        (asks(input="x"), whole(id="a\0b"), ()),
        (asks(input="x"), whole(output=None), ()),
    ):
        passing(x, keeper, "groq", body=body, chunks=chunks)
    counting = asks(input="x")
    counting.call.operation = Operation.COUNT_TOKENS
    passing(counting, keeper, "openai", body=whole())
    keeper.on = False
    passing(asks(input="x"), keeper, "openai", body=whole())
    assert not keeper.rows


def test_a_pin_leaves_the_very_credential() -> None:
    both = replace(provider("openai"), credentials=tuple(replace(KEY, id=CredentialId(name)) for name in "ab"))
    other = provider("groq")
    found = Resolution("m", (candidate(other), candidate(both)))
    narrowed = pinned(found, Pin("resp_1", "openai", "b"))
    assert [[key.id for key in one.provider.credentials] for one in narrowed.candidates] == [["b"]]
    gone = pinned(found, Pin("resp_1", "openai", "deleted"))
    assert [len(one.provider.credentials) for one in gone.candidates] == [2]
    with pytest.raises(Refused) as told:
        pinned(found, Pin("resp_1", "removed", "b"))
    assert (told.value.failure.status, told.value.failure.param) == (400, "previous_response_id")


# --- references to items ---


def test_an_item_that_is_referred_to_is_put_in_its_place() -> None:
    keeper = Memory()
    first = asks(input="one")
    public = public_id(first.request_id)
    item = {"type": "message", "id": f"msg_{public.removeprefix('resp_')}_1", "role": "assistant", "content": []}
    keep = keeping(first, keeper)
    assert keep is not None
    keep(json.dumps({"id": public, "output": [*OUTPUT, item]}).encode())
    theirs = {"type": "item_reference", "id": "msg_0123456789"}
    second = asks(input=[theirs, {"type": "item_reference", "id": item["id"]}, {"role": "user", "content": "two"}])
    assert may_refer(second, Resolution("m", (candidate(provider("groq")),)))
    assert not may_refer(second, Resolution("m", (candidate(provider("openai")),)))
    assert not may_refer(first, Resolution("m", (candidate(provider("groq")),)))
    assert asyncio.run(look_up(second, keeper)) == peek(second.body)
    assert json.loads(second.body)["input"] == [theirs, item, {"role": "user", "content": "two"}]
    for user, number in (("bob", 1), ("alice", 7)):
        named = str(item["id"])[:-1] + str(number)
        lost = asks(user, input=[{"role": "user", "content": "x"}, {"type": "item_reference", "id": named}])
        with pytest.raises(Refused) as told:
            asyncio.run(look_up(lost, keeper))
        assert (told.value.failure.status, told.value.failure.param) == (400, "input[1].id")
    odd = asks(input={"type": "item_reference"})
    with pytest.raises(Refused):
        asyncio.run(look_up(odd, keeper))
    for input_ in (None, "item_reference", [7, {"type": "item_reference"}, {"type": "item_reference", "id": 7}]):
        plain = asks(input=input_)
        before = plain.body
        asyncio.run(look_up(plain, keeper))
        assert plain.body is before
