"""The settings of Messages requests: word for word for their own clients, fitted for everybody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    CacheMark,
    ServerToolKind,
    Text,
)
from gproxy.canonical.request import (
    Effort,
    FunctionTool,
    OpaqueTool,
    OutputFormat,
    OutputKind,
    Reasoning,
    Request,
    Role,
    Sampling,
    ServerTool,
    ToolChoice,
    ToolMode,
    Turn,
)
from gproxy.protocols.anthropic_messages.dialogue import PROTOCOL
from gproxy.protocols.claude import generation

OWN = Dialect.ANTHROPIC_MESSAGES
HI = Turn(Role.USER, (Text("hi"),))


def again(body: bytes, model: str | None = None) -> tuple[Any, Losses]:
    losses = Losses()
    return json.loads(PROTOCOL.encode_request(PROTOCOL.decode_request(body, model=model), losses)), losses


def request(**fields: Any) -> bytes:
    return json.dumps(
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    ).encode()


def foreign(*turns: Turn, **fields: Any) -> tuple[Any, set[str]]:
    """A request of another dialect, as it is written here, and its losses."""
    losses = Losses()
    body = json.loads(PROTOCOL.encode_request(Request(fields.pop("model", "m"), turns or (HI,), **fields), losses))
    return body, {loss.feature.value for loss in losses.found}


@pytest.mark.parametrize(
    ("choice", "mode", "names", "parallel"),
    [
        ({"type": "auto"}, ToolMode.AUTO, (), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolMode.REQUIRED, (), False),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, ToolMode.REQUIRED, ("f",), True),
        ({"type": "none"}, ToolMode.NONE, (), None),
    ],
)
def test_tool_choices(choice: Any, mode: ToolMode, names: tuple[str, ...], parallel: bool | None) -> None:
    body = request(tools=[{"name": "f", "input_schema": {"type": "object"}}], tool_choice=choice)
    read = PROTOCOL.decode_request(body)
    assert (read.tool_choice, read.parallel_tool_calls) == (ToolChoice(mode, names), parallel)
    assert again(body)[0]["tool_choice"] == choice


def test_tools() -> None:
    tools: list[dict[str, Any]] = [
        {"name": "f", "input_schema": {"type": "object"}, "strict": True, "cache_control": {"type": "ephemeral"}},
        {"type": "custom", "name": "g", "input_schema": {"type": "object"}, "defer_loading": True},
        {"type": "web_search_20260209", "name": "web_search", "max_uses": 2, "blocked_domains": ["x.y"], "user_location": {"type": "approximate", "city": "Ulm"}},
        {"type": "computer_20250124", "name": "computer", "display_width_px": 1, "display_height_px": 1},
        {"type": "mcp_toolset", "mcp_server_name": "s"},
    ]  # fmt: skip
    read = PROTOCOL.decode_request(request(tools=tools)).tools
    assert read == (
        FunctionTool("f", schema={"type": "object"}, strict=True, cache=CacheMark()),
        FunctionTool("g", schema={"type": "object"}, extras={OWN: {"type": "custom", "defer_loading": True}}),
        ServerTool(
            ServerToolKind.WEB_SEARCH,
            "web_search",
            blocked_domains=("x.y",),
            location={"city": "Ulm"},
            max_uses=2,
            extras={OWN: tools[2]},
        ),
        OpaqueTool(OWN, "computer_20250124", tools[3]),
        OpaqueTool(OWN, "mcp_toolset", tools[4]),
    )
    written, losses = again(request(tools=tools))
    assert (written["tools"], bool(losses)) == (tools, False)


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"}},
        {"thinking": {"type": "adaptive", "block_binding": {"a": 1}}, "output_config": {"effort": "xhigh"}},
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "between_tools"}},
        {"output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 1}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
        {"service_tier": "auto"},
        {"service_tier": "standard_only"},
        {"metadata": {"user_id": '{"device":"d"}', "more": 1}},
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"container": {"id": "c", "skills": []}, "mcp_servers": [{"type": "url"}], "context_management": {"edits": []}},
        {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["b"], "speed": "fast", "inference_geo": "eu"},
        {"temperature": 1.5, "top_p": 0.5, "top_k": 3, "stop_sequences": [" ", "x"]},
        {"stream": True},
        {"max_tokens": 0},
    ],
)
def test_settings_come_back_word_for_word(fields: dict[str, Any]) -> None:
    written, losses = again(request(**fields))
    assert written == json.loads(request(**fields))
    assert not losses


def test_settings_in_neutral_words() -> None:
    read = PROTOCOL.decode_request(
        request(
            thinking={"type": "enabled", "budget_tokens": 2000},
            output_config={"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
            service_tier="standard_only",
            metadata={"user_id": "u"},
            cache_control={"type": "ephemeral"},
        )
    )
    assert read.reasoning is not None
    assert (read.reasoning.enabled, read.reasoning.budget, read.reasoning.effort) == (True, 2000, Effort.HIGH)
    assert read.output == OutputFormat(OutputKind.SCHEMA, {"type": "object"})
    assert (read.service_tier, read.user, read.cache) == ("default", "u", CacheMark())


@pytest.mark.parametrize(
    ("model", "said_of_it", "cap", "thinking", "config", "max_tokens", "lost"),
    [
        ("claude-haiku-4-5", Reasoning(effort=Effort.LOW), None, ("enabled", 2048), None, 2048 + 8192, set()),
        ("claude-haiku-4-5", Reasoning(effort=Effort.MEDIUM), 4000, ("enabled", 3999), None, 4000, {"reasoning"}),
        ("claude-haiku-4-5", Reasoning(effort=Effort.LOW), 500, None, None, 500, {"reasoning"}),
        ("own-name", Reasoning(enabled=True, budget=5000), 9000, ("enabled", 5000), None, 9000, set()),
        ("claude-opus-4-6", Reasoning(effort=Effort.HIGH), None, ("adaptive", None), "high", 8192, set()),
        ("claude-opus-4-6", Reasoning(effort=Effort.XHIGH), None, ("adaptive", None), "high", 8192, {"reasoning"}),
        ("claude-sonnet-5", Reasoning(effort=Effort.MINIMAL), None, ("adaptive", None), "low", 8192, {"reasoning"}),
        ("claude-opus-4-8", Reasoning(budget=9000), None, ("adaptive", None), "medium", 8192, {"reasoning"}),
        ("claude-opus-4-8", Reasoning(adaptive=True), None, ("adaptive", None), None, 8192, set()),
        ("claude-opus-4-8", Reasoning(effort=Effort.NONE), None, ("disabled", None), None, 8192, set()),
        ("claude-haiku-4-5", Reasoning(enabled=False), None, ("disabled", None), None, 8192, set()),
        ("claude-haiku-4-5", Reasoning(show="auto"), None, None, None, 8192, {"reasoning"}),
    ],
)
def test_thinking_as_the_models_generation_takes_it(
    model: str,
    said_of_it: Reasoning,
    cap: int | None,
    thinking: tuple[str, int | None] | None,
    config: str | None,
    max_tokens: int,
    lost: set[str],
) -> None:
    body, found = foreign(model=model, reasoning=said_of_it, sampling=Sampling(max_output_tokens=cap))
    written = body.get("thinking")
    assert (written and (written["type"], written.get("budget_tokens"))) == thinking
    assert body.get("output_config", {}).get("effort") == config
    assert (body["max_tokens"], found) == (max_tokens, lost)


def test_what_a_thinking_model_refuses_is_left_out() -> None:
    hot = Sampling(temperature=0.2, top_p=1, top_k=3)
    body, lost = foreign(model="claude-haiku-4-5", reasoning=Reasoning(effort=Effort.LOW), sampling=hot)
    assert not {"temperature", "top_p", "top_k"} & body.keys()
    assert lost == {"temperature", "top_k"}
    body, lost = foreign(model="claude-opus-4-7", sampling=Sampling(temperature=1, top_p=0.9))
    assert not {"temperature", "top_p"} & body.keys()
    assert lost == {"top_p"}
    tools = (FunctionTool("f"),)
    body, lost = foreign(
        tools=tools, tool_choice=ToolChoice(ToolMode.REQUIRED, ("f",)), reasoning=Reasoning(effort=Effort.LOW)
    )
    assert ("thinking" in body, body["tool_choice"], lost) == (False, {"type": "tool", "name": "f"}, {"reasoning"})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-7", (4, 7)),
        ("anthropic.claude-opus-4-6-v1:0", (4, 6)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-sonnet-4@20250514", (4, 0)),
        ("claude-haiku-4-5-20251001", (4, 5)),
        ("claude-3-7-sonnet-20250219", (3, 7)),
        ("anthropic/claude-haiku-4.5", (4, 5)),
        ("claude-fable-5", (5, 0)),
        ("claude-opus-5-5", (5, 5)),
        ("claude-mythos-preview", None),
        ("my-model", None),
    ],
)
def test_the_generation_a_name_states(model: str, expected: tuple[int, int] | None) -> None:
    assert generation(model) == expected


def test_schemas_are_closed_as_servers_demand() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "object"}}, "additionalProperties": False}
    schema = {"type": "object", "properties": {"a": {"anyOf": [inner, {"type": "null"}]}}, "enum": [{"type": "object"}]}
    body, lost = foreign(output=OutputFormat(OutputKind.SCHEMA, schema, "name", strict=True))
    closed = {"type": "object", "additionalProperties": False}
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "a": {"anyOf": [{**inner, "properties": {"x": closed}}, {"type": "null"}]},
            },
            "enum": [{"type": "object"}],
            "additionalProperties": False,
        },
    }
    assert not lost
    _, lost = foreign(output=OutputFormat(OutputKind.SCHEMA, {"type": "object", "additionalProperties": True}))
    assert lost == {"output_format"}


def test_a_choice_among_tools_that_found_no_place_is_not_written() -> None:
    body, lost = foreign(
        tools=(ServerTool(ServerToolKind.FILE_SEARCH),),
        tool_choice=ToolChoice(ToolMode.REQUIRED),
        parallel_tool_calls=True,
    )
    assert not {"tools", "tool_choice"} & body.keys()
    assert lost == {"server_tool"}
