"""A tool loop with thinking through every official SDK, against a vendor of every dialect: two calls, results, an answer.

Each client sends the answer back exactly as its SDK gave it, the way agents do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.genai import types

from gproxy.canonical.operation import Dialect
from tests.process import rig
from tests.process.test_dialects import DIALECTS, PAIRS, SCHEMA, SHORT, Clients, providers

pytestmark = [pytest.mark.process, pytest.mark.sdk]

ASK = "[[sim reasoning=4,tools=2,tokens=20]] add two numbers, twice"
ROUNDS = 2


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    seed = rig.seed(vendor.port, providers(vendor.port))
    with rig.gateway(tmp_path_factory.mktemp("loops"), seed) as made:
        yield made


@pytest.fixture(scope="module")
def clients(gateway: rig.Gateway) -> Iterator[Clients]:
    made = Clients(gateway.url)
    yield made
    made.close()


def chat(clients: Clients, model: str) -> tuple[list[list[str]], str]:
    history: list[Any] = [{"role": "user", "content": ASK}]
    tools: Any = [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]
    rounds: list[list[str]] = []
    for choice in ("required",) * ROUNDS + ("none",):
        asked: Any = {"model": model, "messages": history, "tools": tools, "tool_choice": choice}
        with clients.openai.chat.completions.stream(**asked) as stream:
            message = stream.get_final_completion().choices[0].message
        calls = message.tool_calls or []
        if not calls:
            return rounds, message.content or ""
        rounds.append([call.id for call in calls])
        history.append(message.model_dump(exclude_none=True))
        for call in calls:
            assert isinstance(json.loads(call.function.arguments), dict)
            history.append({"role": "tool", "tool_call_id": call.id, "content": "3"})
        history.append({"role": "user", "content": ASK})
    return rounds, ""


def responses(clients: Clients, model: str) -> tuple[list[list[str]], str]:
    history: list[Any] = [{"role": "user", "content": ASK}]
    tools: Any = [{"type": "function", "name": "add", "parameters": SCHEMA, "strict": False}]
    rounds: list[list[str]] = []
    for choice in ("required",) * ROUNDS + ("none",):
        asked: Any = {"model": model, "input": history, "tools": tools, "tool_choice": choice, "store": False}
        asked["include"] = ["reasoning.encrypted_content"]
        with clients.openai.responses.stream(**asked) as stream:
            made = stream.get_final_response()
        calls = [item for item in made.output if item.type == "function_call"]
        if not calls:
            return rounds, made.output_text
        rounds.append([call.call_id for call in calls])
        for item in made.output:
            dumped = item.model_dump(exclude_none=True)
            dumped.pop("parsed_arguments", None)
            history.append(dumped)
        for call in calls:
            assert isinstance(json.loads(call.arguments), dict)
            history.append({"type": "function_call_output", "call_id": call.call_id, "output": "3"})
        history.append({"role": "user", "content": ASK})
    return rounds, ""


def messages(clients: Clients, model: str) -> tuple[list[list[str]], str]:
    history: list[Any] = [{"role": "user", "content": ASK}]
    tools: Any = [{"name": "add", "input_schema": SCHEMA}]
    rounds: list[list[str]] = []
    for choice in ("any",) * ROUNDS + ("none",):
        asked: Any = {"model": model, "messages": history, "tools": tools, "tool_choice": {"type": choice}}
        with clients.anthropic.messages.stream(max_tokens=500, **asked) as stream:
            message = stream.get_final_message()
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return rounds, "".join(block.text for block in message.content if block.type == "text")
        rounds.append([call.id for call in calls])
        history.append({"role": "assistant", "content": message.model_dump(exclude_none=True)["content"]})
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "3"} for call in calls]
        history.append({"role": "user", "content": [*results, {"type": "text", "text": ASK}]})
    return rounds, ""


def gemini(clients: Clients, model: str) -> tuple[list[list[str]], str]:
    history: list[Any] = [types.Content(role="user", parts=[types.Part(text=ASK)])]
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="add", parameters_json_schema=SCHEMA)])
    modes = (types.FunctionCallingConfigMode.ANY,) * ROUNDS + (types.FunctionCallingConfigMode.NONE,)
    rounds: list[list[str]] = []
    for mode in modes:
        calling = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode=mode))
        config = types.GenerateContentConfig(
            tools=[tool],
            tool_config=calling,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        parts: list[types.Part] = []
        for chunk in clients.gemini.models.generate_content_stream(model=model, contents=history, config=config):
            content = chunk.candidates[0].content if chunk.candidates else None
            parts += (content.parts or []) if content else []
        calls = [part.function_call for part in parts if part.function_call]
        if not calls:
            return rounds, "".join(part.text or "" for part in parts if not part.thought)
        rounds.append([call.id or f"call {len(rounds)} {i}" for i, call in enumerate(calls)])
        history.append(types.Content(role="model", parts=parts))
        answers = [types.FunctionResponse(id=call.id, name=call.name, response={"result": 3}) for call in calls]
        said = [types.Part(function_response=answer) for answer in answers]
        history.append(types.Content(role="user", parts=[*said, types.Part(text=ASK)]))
    return rounds, ""


LOOPS = dict(zip(DIALECTS, (chat, responses, messages, gemini), strict=True))


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_loop_of_calls_reaches_its_answer(clients: Clients, client: str, upstream: str) -> None:
    rounds, answer = LOOPS[client](clients, f"{SHORT[upstream]}/sim-model")
    # Converse has no word for "none" (a named loss), so the vendor calls in the last round too.
    deaf = upstream == Dialect.BEDROCK_CONVERSE
    assert [len(ids) for ids in rounds] == [2] * (ROUNDS + deaf)
    ids = [one for each in rounds for one in each]
    assert len(set(ids)) == len(ids), "a call must be told from every other in the conversation"
    assert answer or deaf
