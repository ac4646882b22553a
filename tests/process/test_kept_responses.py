"""Conversations that go on by `previous_response_id` with providers that keep none, through the official SDK."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.process import rig
from tests.process.test_admin import SEED as ADMIN
from tests.process.test_admin import admin
from tests.process.test_dialects import SCHEMA, providers

pytestmark = [pytest.mark.process, pytest.mark.sdk]

ROOT_KEY = "sk-root-0123456789abcdef"
BOB = "sk-bob-0123456789abcdef"
PEOPLE = f"""
[[users]]
name = "bob"
password = "correct horse battery staple"
[[users.keys]]
api_key = "{BOB}"
[[permissions]]
user_name = "bob"
model_pattern = "*"
"""
FOREIGN = ("chat", "messages", "gemini")
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS: Any = [{"type": "function", "name": "add", "parameters": SCHEMA, "strict": False}]
ASK: Any = [
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "[[sim reasoning=4,tools=2,tokens=20]] add two numbers"},
            {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
        ],
    }
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    seed = rig.seed(vendor.port, ADMIN + PEOPLE + providers(vendor.port))
    with rig.gateway(tmp_path_factory.mktemp("kept"), seed) as made:
        admin(made, "PATCH", "/admin/settings", {"values": {"enable_upstream_log": True}})
        admin(made, "PATCH", "/admin/settings", {"values": {"enable_upstream_log_body": True}})
        yield made


def client_of(gateway: rig.Gateway, key: str = rig.ALICE) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def client(gateway: rig.Gateway) -> Iterator[openai.OpenAI]:
    with client_of(gateway) as made:
        yield made


def upstream_body(gateway: rig.Gateway, made: Any) -> Any:
    """What the provider was sent for a kept answer; its id is that of the request."""
    return sent(gateway, str(uuid.UUID(made.id.removeprefix("resp_"))))


def sent(gateway: rig.Gateway, request_id: str) -> Any:
    """What the provider was sent for a request."""

    def found() -> Any:
        status, _, content = gateway.request("GET", f"/admin/requests/{request_id}", key=ROOT_KEY)
        told = json.loads(content)
        return json.loads(told["upstream"][0]["request_body"]) if status == 200 and told["upstream"] else None

    return rig.await_that(found, gateway, "the log of a call upstream")


def ask(client: openai.OpenAI, *, stream: bool, **asked: Any) -> Any:
    if not stream:
        return client.responses.create(**asked)
    with client.responses.stream(**asked) as made:
        return made.get_final_response()


def results(made: Any) -> list[Any]:
    calls = [item for item in made.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": "3"} for call in calls]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("upstream", FOREIGN)
def test_the_provider_is_told_what_it_would_be_told_by_a_client_that_sends_everything(
    gateway: rig.Gateway, client: openai.OpenAI, upstream: str, stream: bool
) -> None:
    model = f"{upstream}/sim-model"
    said: Any = list(ASK)
    everything: list[Any] = []
    previous: str | None = None
    for choice in ("required", "required", "none"):
        common: Any = {"model": model, "tools": TOOLS, "tool_choice": choice, "stream": stream}
        made = ask(client, **common, input=said, previous_response_id=previous)
        assert made.previous_response_id == previous
        everything += said
        alone = ask(client, **common, input=everything)
        assert upstream_body(gateway, made) == upstream_body(gateway, alone)
        everything += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in made.output]
        previous = made.id
        said = [*results(made), {"role": "user", "content": ASK[0]["content"]}]
    assert made.output_text
    kinds = [item.get("type", "message") for item in everything]
    assert kinds.count("function_call") == kinds.count("function_call_output") == 4
    if upstream != "chat":  # the simulated chat provider counts its reasoning and shows none
        assert kinds.count("reasoning") == 3
    if upstream == "messages":  # and this one signs it
        assert json.dumps(upstream_body(gateway, made)).count('"signature"') == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("upstream", FOREIGN)
def test_items_of_kept_answers_may_be_referred_to(
    gateway: rig.Gateway, client: openai.OpenAI, upstream: str, stream: bool
) -> None:
    common: Any = {"model": f"{upstream}/sim-model", "tools": TOOLS, "stream": stream}
    made = ask(client, **common, input=ASK, tool_choice="required")
    end = [*results(made), {"role": "user", "content": "and now?"}]
    referred: list[Any] = [{"type": "item_reference", "id": item.id} for item in made.output]
    items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in made.output]
    short = ask(client, **common, input=[*ASK, *referred, *end], tool_choice="none")
    full = ask(client, **common, input=[*ASK, *items, *end], tool_choice="none")
    assert upstream_body(gateway, short) == upstream_body(gateway, full)
    last = ask(client, **common, input="go on", previous_response_id=short.id, tool_choice="none")
    assert last.output_text
    with client_of(gateway, BOB) as bob, pytest.raises(openai.BadRequestError, match="there is no kept item") as told:
        bob.responses.create(model=f"{upstream}/sim-model", input=[*ASK, *referred])
    assert told.value.param == "input[1].id"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("upstream", FOREIGN)
def test_a_custom_tool_is_called_and_answered(
    gateway: rig.Gateway, client: openai.OpenAI, upstream: str, stream: bool
) -> None:
    tools: Any = [{"type": "custom", "name": "patch", "description": "edits a file"}]
    model = f"{upstream}/sim-model"
    made = ask(client, stream=stream, model=model, input="[[sim tools=1]] go", tools=tools, tool_choice="required")
    (call,) = [item for item in made.output if item.type == "custom_tool_call"]
    assert call.name == "patch"
    assert call.input
    result = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}
    said: Any = [result, {"role": "user", "content": "and now?"}]
    common: Any = {"model": model, "tools": tools, "tool_choice": "none", "stream": stream}
    last = ask(client, **common, input=said, previous_response_id=made.id)
    assert last.output_text
    told = json.dumps(upstream_body(gateway, last))
    assert json.dumps(call.input) in told.replace('\\"', '"')
    assert "custom" not in told


def test_a_custom_tool_of_a_chat_client(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "custom", "custom": {"name": "patch"}}]
    asked: Any = {"model": "gemini/sim-model", "tools": tools, "tool_choice": "required"}
    made = client.chat.completions.create(messages=[{"role": "user", "content": "[[sim tools=1]] go"}], **asked)
    (call,) = made.choices[0].message.tool_calls or []
    assert call.type == "custom"
    assert (call.custom.name, bool(call.custom.input)) == ("patch", True)


def test_a_conversation_goes_on_with_another_provider_each_turn(gateway: rig.Gateway, client: openai.OpenAI) -> None:
    previous: str | None = None
    for number, upstream in enumerate((*FOREIGN, "responses")):
        made = client.responses.with_raw_response.create(
            model=f"{upstream}/sim-model", input=f"turn {number} of many", previous_response_id=previous
        )
        previous = made.parse().id
    # A provider that keeps answers itself does not know ours: it is told everything, and keeps what it answers.
    told = sent(gateway, made.headers["x-request-id"])
    assert "previous_response_id" not in told
    texts = [item["content"] for item in told["input"] if item.get("role") == "user"]
    assert texts == [f"turn {number} of many" for number in range(4)]
    assert sum(item.get("role") == "assistant" for item in told["input"]) == 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_provider_that_keeps_its_answers_is_asked_again_with_the_key_that_has_them(
    gateway: rig.Gateway, client: openai.OpenAI, stream: bool
) -> None:
    made: Any = None
    ids: list[str] = []
    for number in range(6):  # two keys take turns
        previous = None if made is None else made.id
        raw: Any = {
            "model": "gpt-4.1-mini",
            "input": f"turn {number}",
            "stream": stream,
            "previous_response_id": previous,
        }
        made = ask(client, **raw)
        assert not made.id.startswith("resp_01")  # the vendor's own
        ids.append(made.id)
    query = f"SELECT credential_id, size FROM kept_responses WHERE id IN {tuple(ids)}"
    told = rig.await_that(
        lambda: found if len(found := gateway.query(query)) == len(ids) else None, gateway, "the rows of six answers"
    )
    assert {row["size"] for row in told} == {0}  # nothing of what was said is kept here
    assert len({row["credential_id"] for row in told}) == 1
    with client_of(gateway, BOB) as bob, pytest.raises(openai.BadRequestError, match="there is no kept response"):
        bob.responses.create(model="gpt-4.1-mini", input="x", previous_response_id=made.id)
    with pytest.raises(openai.BadRequestError, match="kept by the provider 'main'"):
        client.responses.create(model="messages/sim-model", input="x", previous_response_id=made.id)
    unknown = client.responses.with_raw_response.create(
        model="gpt-4.1-mini", input="x", previous_response_id="resp_made_elsewhere"
    )
    assert sent(gateway, unknown.headers["x-request-id"])["previous_response_id"] == "resp_made_elsewhere"


def test_what_a_provider_keeps_is_looked_at_there_by_its_own_user_only(
    gateway: rig.Gateway, client: openai.OpenAI, vendor: rig.Vendor
) -> None:
    made = client.responses.create(model="gpt-4.1-mini", input="one two")
    recorded = "openai-responses/ai--responses-openai-apply-patch-tool-1--2"
    with client_of(gateway, BOB) as bob:
        for look in (bob.responses.retrieve, bob.responses.delete, bob.responses.input_items.list):
            with pytest.raises(openai.NotFoundError, match="there is no kept response"):
                look(made.id)
    vendor_says(vendor, recorded)
    seen = client.responses.with_raw_response.retrieve(made.id)
    assert seen.headers["x-gproxy-provider"] == "main"
    assert seen.parse().output
    with pytest.raises(openai.NotFoundError, match=rf"GET /v1/responses/{made.id}/input_items"):
        client.responses.input_items.list(made.id)
    vendor_says(vendor, recorded)
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="there is no kept response"):
        client.responses.retrieve(made.id)


def vendor_says(vendor: rig.Vendor, recorded: str) -> None:
    """How the vendor answers its next request."""
    connection = http.client.HTTPConnection("127.0.0.1", vendor.port, timeout=60)
    connection.request("POST", "/_vendor/scripts", json.dumps({"script": {"replay": recorded}}))
    assert connection.getresponse().status == 201
    connection.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_server_of_the_dialect_that_keeps_none_has_them_kept_for_it(
    gateway: rig.Gateway, client: openai.OpenAI, stream: bool
) -> None:
    model = "responses/sim-model"
    first = ask(client, stream=stream, model=model, input="one two", store=True)
    assert client.responses.retrieve(first.id).output_text == first.output_text
    second = client.responses.with_raw_response.create(
        model=model, input="three", store=True, previous_response_id=first.id, metadata={"a": "b"}
    )
    told = sent(gateway, second.headers["x-request-id"])
    assert "previous_response_id" not in told
    assert (told["store"], told["metadata"]) == (False, {"a": "b"})
    assert [item["role"] for item in told["input"]] == ["user", "assistant", "user"]
    third = client.responses.create(model="gemini/sim-model", input="four", previous_response_id=second.parse().id)
    assert len(upstream_body(gateway, third)["contents"]) == 5


def test_it_is_looked_at_and_deleted_by_its_own_user_only(gateway: rig.Gateway, client: openai.OpenAI) -> None:
    first = client.responses.create(model="messages/sim-model", input="one two", instructions="be brief")
    second = client.responses.create(
        model="messages/sim-model",
        input=[{"role": "user", "content": "three"}, {"role": "user", "content": "four"}],
        previous_response_id=first.id,
    )
    for _ in range(2):  # whether it is written yet or not
        again = client.responses.retrieve(second.id)
        assert again.model_dump() == second.model_dump()
        rig.await_that(
            lambda: gateway.query("SELECT 1 FROM kept_responses WHERE previous_id IS NOT NULL"), gateway, "its row"
        )
    items: list[Any] = list(client.responses.input_items.list(second.id, order="asc", limit=1))  # pages of one
    assert [item.content[0].text for item in items] == ["three", "four"]
    with client_of(gateway, BOB) as bob:
        for look in (bob.responses.retrieve, bob.responses.delete, bob.responses.input_items.list):
            with pytest.raises(openai.NotFoundError) as missing:
                look(first.id)
            assert missing.value.code == "not_found"
        with pytest.raises(openai.BadRequestError, match="there is no kept response") as unknown:
            bob.responses.create(model="messages/sim-model", input="x", previous_response_id=first.id)
        assert unknown.value.param == "previous_response_id"
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError, match="earlier part of the conversation"):
        client.responses.create(model="messages/sim-model", input="x", previous_response_id=second.id)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_nothing_is_kept_that_must_not_be(gateway: rig.Gateway, client: openai.OpenAI, stream: bool) -> None:
    count = gateway.query("SELECT COUNT(*) AS n FROM kept_responses")
    for model in ("messages/sim-model", "responses/sim-model", "gpt-4.1-mini"):
        made = ask(client, stream=stream, model=model, input="one two", store=False)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)
    plain = client.chat.completions.create(model="messages/sim-model", messages=[{"role": "user", "content": "x"}])
    assert plain.choices
    assert gateway.query("SELECT COUNT(*) AS n FROM kept_responses") == count


def test_a_provider_that_forbids_losses_loses_nothing_by_it(client: openai.OpenAI) -> None:
    first = client.responses.create(model="strict/sim-model", input="one two", store=True)
    second = client.responses.with_raw_response.create(
        model="strict/sim-model", input="three", store=True, previous_response_id=first.id
    )
    assert "x-gproxy-loss" not in second.headers
    assert second.parse().previous_response_id == first.id


def test_the_input_of_a_conversation_is_counted_with_what_came_before(client: openai.OpenAI) -> None:
    first = client.responses.create(model="messages/sim-model", input="one two three four")
    alone = client.responses.input_tokens.count(model="messages/sim-model", input="five")
    after = client.responses.input_tokens.count(model="messages/sim-model", input="five", previous_response_id=first.id)
    assert after.input_tokens >= alone.input_tokens + 4


def test_it_outlives_the_gateway_and_is_found_by_its_siblings(vendor: rig.Vendor, folder: Any) -> None:
    seed = rig.seed(vendor.port, providers(vendor.port))
    with rig.gateway(folder, seed, "--workers", "2") as gateway:
        gateway.told("all workers serve")
        with client_of(gateway) as client:
            first = client.responses.create(model="gemini/sim-model", input="one two")
        made = first
        for _ in range(12):  # a connection of its own each time, so that both processes are asked
            with client_of(gateway) as client:
                made = client.responses.create(model="gemini/sim-model", input="three", previous_response_id=made.id)
        assert gateway.stop() == 0
        gateway.start()
        gateway.told("all workers serve")
        with client_of(gateway) as client:
            last = client.responses.create(model="gemini/sim-model", input="four", previous_response_id=made.id)
            assert client.responses.retrieve(first.id).output_text == first.output_text
        assert last.usage
        assert first.usage
        assert last.usage.input_tokens > first.usage.input_tokens + 12
        assert gateway.stop() == 0


def test_it_can_be_switched_off(vendor: rig.Vendor, folder: Any) -> None:
    seed = rig.seed(vendor.port, "[global]\nconversation_retention_days = 0\n" + providers(vendor.port))
    with rig.gateway(folder, seed) as gateway, client_of(gateway) as client:
        made = client.responses.create(model="gemini/sim-model", input="one two")
        with pytest.raises(openai.BadRequestError):
            client.responses.create(model="gemini/sim-model", input="x", previous_response_id=made.id)
        assert gateway.stop() == 0
        assert not gateway.query("SELECT 1 FROM kept_responses")
