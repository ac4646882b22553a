"""The official SDKs, unmodified, understand what the vendor says: buffered, streamed, tools, errors."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gproxy.vendor.server import VendorServer

with warnings.catch_warnings():
    # The SDKs warn about themselves while being imported; that is not ours to mend.
    warnings.simplefilter("ignore")
    import anthropic
    import openai
    from google import genai
    from google.genai import errors as genai_errors
    from google.genai import types as genai_types

pytestmark = pytest.mark.sdk
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture
async def oai(vendor: VendorServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key="k-sdk", base_url=f"http://127.0.0.1:{vendor.port}/v1", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def claude(vendor: VendorServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        api_key="k-sdk", base_url=f"http://127.0.0.1:{vendor.port}", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def gem(vendor: VendorServer) -> AsyncIterator[Any]:
    options = genai_types.HttpOptions(base_url=f"http://127.0.0.1:{vendor.port}")
    client = genai.Client(api_key="k-sdk", http_options=options)
    yield client.aio
    await client.aio.aclose()
    client.close()


async def test_openai_chat(oai: openai.AsyncOpenAI) -> None:
    answer = await oai.chat.completions.create(model="sim/tokens=6", messages=[{"role": "user", "content": "a b"}])
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 6)
    assert answer.choices[0].finish_reason == "stop"
    assert len((answer.choices[0].message.content or "").split()) == 6
    assert answer._request_id


async def test_openai_chat_stream_with_tools(oai: openai.AsyncOpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    async with oai.chat.completions.stream(
        model="sim",
        messages=[{"role": "user", "content": "weather"}],
        tools=[tool],
        tool_choice="required",
        stream_options={"include_usage": True},
    ) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "example"}
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage is not None
    assert final.usage.completion_tokens > 1


async def test_openai_responses(oai: openai.AsyncOpenAI) -> None:
    answer = await oai.responses.create(model="sim/tokens=6,reasoning=2", input="a b")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 8)
    assert answer.usage.output_tokens_details.reasoning_tokens == 2
    assert len(answer.output_text.split()) == 6
    async with oai.responses.stream(model="sim/tokens=6", input="a b") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert len(final.output_text.split()) == 6
    tool: Any = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
    called = await oai.responses.create(model="sim", input="x", tools=[tool], tool_choice="required")
    assert called.output[-1].type == "function_call"


async def test_openai_rest(oai: openai.AsyncOpenAI) -> None:
    assert "sim" in [model.id async for model in oai.models.list()]
    made = await oai.embeddings.create(model="sim-embedding", input=["a", "b c"])
    assert len(made.data[0].embedding) == 8
    assert made.usage.total_tokens == 3
    with pytest.raises(openai.NotFoundError) as refused:
        await oai.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "x"}])
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.RateLimitError):
        await oai.chat.completions.create(model="sim/status=429", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.APIError):
        async for _ in await oai.chat.completions.create(
            model="sim/fail=error_mid", messages=[{"role": "user", "content": "x"}], stream=True
        ):
            pass


async def test_anthropic_messages(claude: anthropic.AsyncAnthropic) -> None:
    said: Any = [{"role": "user", "content": "a b"}]
    answer = await claude.messages.create(model="sim/tokens=6,reasoning=3", max_tokens=50, messages=said)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 9)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.stop_reason == "end_turn"
    async with claude.messages.stream(model="sim/tokens=6,cached=5", max_tokens=50, messages=said) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert len(text.split()) == 6
    assert (final.usage.output_tokens, final.usage.cache_read_input_tokens) == (6, 5)
    counted = await claude.messages.count_tokens(model="sim", messages=said)
    assert counted.input_tokens == 2
    assert "sim" in [model.id async for model in claude.models.list()]


async def test_anthropic_tools_and_errors(claude: anthropic.AsyncAnthropic) -> None:
    said: Any = [{"role": "user", "content": "weather"}]
    tools: Any = [{"name": "get_weather", "input_schema": SCHEMA}]
    async with claude.messages.stream(
        model="sim", max_tokens=50, messages=said, tools=tools, tool_choice={"type": "any"}
    ) as stream:
        final = await stream.get_final_message()
    block = final.content[0]
    assert block.type == "tool_use"
    assert block.input == {"city": "example"}
    with pytest.raises(anthropic.APIStatusError) as refused:
        await claude.messages.create(model="sim/status=529", max_tokens=5, messages=said)
    assert refused.value.status_code == 529
    with pytest.raises(anthropic.APIStatusError):
        async with claude.messages.stream(model="sim/fail=error_mid", max_tokens=50, messages=said) as stream:
            await stream.get_final_message()


async def test_gemini(gem: Any) -> None:
    answer = await gem.models.generate_content(model="sim~tokens=6~reasoning=2", contents="a b")
    assert len(answer.text.split()) == 6
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (2, 6, 2)
    pieces = [chunk async for chunk in await gem.models.generate_content_stream(model="sim~tokens=6", contents="a b")]
    assert len("".join(chunk.text or "" for chunk in pieces).split()) == 6
    assert pieces[-1].usage_metadata.candidates_token_count == 6
    assert pieces[-1].candidates[0].finish_reason.name == "STOP"
    assert (await gem.models.count_tokens(model="sim", contents="a b c")).total_tokens == 3


async def test_gemini_tools_and_errors(gem: Any) -> None:
    function = genai_types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)
    config = genai_types.GenerateContentConfig(
        tools=[genai_types.Tool(function_declarations=[function])],
        tool_config=genai_types.ToolConfig(
            function_calling_config=genai_types.FunctionCallingConfig(mode=genai_types.FunctionCallingConfigMode.ANY)
        ),
        automatic_function_calling=genai_types.AutomaticFunctionCallingConfig(disable=True),
    )
    answer = await gem.models.generate_content(model="sim", contents="weather", config=config)
    assert answer.function_calls[0].args == {"city": "example"}
    with pytest.raises(genai_errors.ServerError):
        await gem.models.generate_content(model="sim~status=503", contents="x")
    embedded = await gem.models.embed_content(model="sim-embedding", contents="a b")
    assert len(embedded.embeddings[0].values) == 8
