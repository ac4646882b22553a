"""The official OpenAI SDK, unmodified, sync and async, streams and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.sdk]

MESSAGES: Any = [{"role": "user", "content": "one two three"}]


@pytest.fixture
def client(gateway: rig.Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=rig.ALICE, max_retries=0) as made:
        yield made


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="sim-model", messages=MESSAGES, max_tokens=5)
    assert answer.model == "sim-model"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].message.content
    assert answer._request_id


def test_stream(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="sim-model", messages=MESSAGES, max_tokens=6, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sim-model", messages=MESSAGES, max_tokens=6, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.usage is not None
    assert last.usage.completion_tokens == 6


def test_tools(gateway: rig.Gateway) -> None:
    tool: Any = {
        "type": "function",
        "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    }
    with openai.OpenAI(base_url=f"{gateway.url}/main/v1", api_key=rig.ALICE) as scoped:
        answer = scoped.chat.completions.create(
            model="sim~tools=2", messages=MESSAGES, tools=[tool], tool_choice="required"
        )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert len(calls) == 2


def test_models(client: openai.OpenAI) -> None:
    assert "sim-model" in [model.id for model in client.models.list()]
    assert client.models.retrieve("main/sim-model").id == "main/sim-model"


async def test_async(gateway: rig.Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=rig.ALICE, max_retries=0) as client:
        answer = await client.chat.completions.create(model="sim-model", messages=MESSAGES, max_tokens=3)
        assert answer.usage is not None
        stream = await client.chat.completions.create(model="sim-model", messages=MESSAGES, max_tokens=4, stream=True)
        assert len([chunk async for chunk in stream]) >= 4


@pytest.mark.parametrize(
    ("key", "model", "kind", "code"),
    [
        ("sk-nobody", "sim-model", openai.AuthenticationError, "invalid_api_key"),
        (rig.MUTE, "sim-model", openai.PermissionDeniedError, "forbidden"),
        (rig.ALICE, "nope", openai.NotFoundError, "model_not_found"),
    ],
)
def test_errors_are_the_sdks_own(gateway: rig.Gateway, key: str, model: str, kind: Any, code: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=2) as client, pytest.raises(kind) as told:
        client.chat.completions.create(model=model, messages=MESSAGES)
    assert told.value.code == code
    assert told.value.request_id


def test_a_vendor_that_fails_is_a_server_error(gateway: rig.Gateway) -> None:
    with (
        openai.OpenAI(base_url=f"{gateway.url}/other/v1", api_key=rig.ALICE, max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as told,
    ):
        client.chat.completions.create(model="sim~status=500", messages=MESSAGES)
    assert told.value.code == "upstream_error"


def test_a_stream_that_breaks_off_raises(gateway: rig.Gateway) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/main/v1", api_key=rig.ALICE, max_retries=0) as client:
        stream = client.chat.completions.create(model="sim~fail=close_mid~tokens=20", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError):
            list(stream)
