"""Custom tools through dialects that have none: declared, called, answered, in whole answers and in streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.canonical.part import ToolCall
from gproxy.protocols.assembly import Assembler
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from tests.vendor.legal import judge

CHAT, RESPONSES, MESSAGES, GEMINI = GENERATE_DIALECTS
PATCH = '*** Begin Patch\n+ "é𝄞" \\ done\n'
CLIENTS = (CHAT, RESPONSES)
UPSTREAMS = (CHAT, MESSAGES, GEMINI)
PAIRS = [(client, upstream) for client in CLIENTS for upstream in UPSTREAMS]
LARK = {"syntax": "lark", "definition": 'start: "a"'}


def hub(client: Dialect, upstream: Dialect, *, streams: bool = False, custom_tools: bool = False) -> Hub:
    setup = Setup(client, upstream, Names("m", "m"), streams=streams, upstream_streams=streams, id="0190a7c5",
                  created=7, custom_tools=custom_tools)  # fmt: skip
    return Hub(setup, Tally())


def request(client: Dialect, *, grammar: bool = False, history: Any = ()) -> bytes:
    """A request that declares a custom tool and a function, and forces the former."""
    if client is CHAT:
        custom: dict[str, Any] = {"name": "patch", "description": "edits"}
        if grammar:
            custom["format"] = {"type": "grammar", "grammar": LARK}
        tools = [
            {"type": "custom", "custom": custom},
            {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
        ]
        choice = {"type": "custom", "custom": {"name": "patch"}}
        asked = {"messages": [{"role": "user", "content": "go"}, *history], "tools": tools, "tool_choice": choice}
    else:
        flat: dict[str, Any] = {"type": "custom", "name": "patch", "description": "edits"}
        if grammar:
            flat["format"] = {"type": "grammar", **LARK}
        tools = [flat, {"type": "function", "name": "add", "parameters": {"type": "object"}}]
        choice = {"type": "custom", "name": "patch"}
        asked = {"input": [{"role": "user", "content": "go"}, *history], "tools": tools, "tool_choice": choice}
    return json.dumps({"model": "m", **asked}).encode()


def history(client: Dialect, said: str) -> list[Any]:
    if client is CHAT:
        call = {"id": "call_1", "type": "custom", "custom": {"name": "patch", "input": said}}
        return [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
        ]
    return [
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "patch", "input": said},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "ok"},
    ]


def functions(upstream: Dialect, body: Any) -> dict[str, Any]:
    """The functions a provider is told of: name and schema."""
    if upstream is CHAT:
        assert all(tool["type"] == "function" for tool in body["tools"])
        return {tool["function"]["name"]: tool["function"]["parameters"] for tool in body["tools"]}
    if upstream is MESSAGES:
        return {tool["name"]: tool["input_schema"] for tool in body["tools"]}
    return {one["name"]: one["parametersJsonSchema"] for one in body["tools"][0]["functionDeclarations"]}


def calls(upstream: Dialect, body: Any) -> list[Any]:
    """The arguments of the calls a provider is reminded of."""
    if upstream is CHAT:
        found = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
        assert all(call["type"] == "function" for call in found)
        return [json.loads(call["function"]["arguments"]) for call in found]
    if upstream is MESSAGES:
        blocks = [
            block for message in body["messages"] if message["role"] == "assistant" for block in message["content"]
        ]
        return [block["input"] for block in blocks if block["type"] == "tool_use"]
    parts = [part for content in body["contents"] for part in content["parts"]]
    return [part["functionCall"]["args"] for part in parts if "functionCall" in part]


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@pytest.mark.parametrize("grammar", [False, True])
def test_a_provider_is_told_of_functions_only(client: Dialect, upstream: Dialect, grammar: bool) -> None:
    made = hub(client, upstream)
    body = json.loads(made.request(request(client, grammar=grammar, history=history(client, PATCH))))
    told = functions(upstream, body)
    assert list(told) == ["patch", "add"]
    assert told["patch"]["required"] == ["input"]
    assert calls(upstream, body) == [{"input": PATCH}]
    assert made.loss_header == ("tool_grammar" if grammar else "")
    assert ("start: " in json.dumps(body)) is grammar
    if upstream is CHAT:
        assert body["tool_choice"] == {"type": "function", "function": {"name": "patch"}}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_vendor_that_has_them_is_told_of_them(client: Dialect) -> None:
    other = RESPONSES if client is CHAT else CHAT
    made = hub(client, other, custom_tools=True)
    body = json.loads(made.request(request(client, grammar=True, history=history(client, PATCH))))
    assert [tool["type"] for tool in body["tools"]] == ["custom", "function"]
    assert not made.loss_header


# --- answers ---


def answer(upstream: Dialect, arguments: str) -> bytes:
    """A provider's answer: a call of each function, in that order."""
    both = (("call_1", "patch", arguments), ("call_2", "add", '{"input": "a function\'s own"}'))
    if upstream is CHAT:
        listed = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": said}}
            for call_id, name, said in both
        ]
        message = {"role": "assistant", "content": None, "tool_calls": listed}
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        body: Any = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
        return json.dumps(body).encode()
    values = [(call_id, name, json.loads(said)) for call_id, name, said in both]
    if upstream is MESSAGES:
        content = [{"type": "tool_use", "id": one, "name": name, "input": value} for one, name, value in values]
        usage = {"input_tokens": 1, "output_tokens": 1}
        body = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content,
                "stop_reason": "tool_use", "usage": usage}  # fmt: skip
        return json.dumps(body).encode()
    parts = [{"functionCall": {"id": one, "name": name, "args": value}} for one, name, value in values]
    return json.dumps({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}).encode()


def stream(upstream: Dialect, arguments: str) -> bytes:
    """The same as a stream, the arguments in small pieces."""

    def frames() -> Iterator[tuple[str, Any]]:
        if upstream is CHAT:
            base: Any = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            for index, (call_id, name, said) in enumerate(
                (("call_1", "patch", arguments), ("call_2", "add", '{"input": "a function\'s own"}'))
            ):
                first = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
                pieces = [{"index": index, "function": {"arguments": said[i : i + 3]}} for i in range(0, len(said), 3)]
                for call in (first, *pieces):
                    yield "", {**base, "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
            yield "", {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
        elif upstream is MESSAGES:
            usage = {"input_tokens": 1, "output_tokens": 1}
            start = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
            yield "message_start", {"message": start}
            for index, (call_id, name, said) in enumerate(
                (("call_1", "patch", arguments), ("call_2", "add", '{"input": "a function\'s own"}'))
            ):
                block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
                yield "content_block_start", {"index": index, "content_block": block}
                for i in range(0, len(said), 3):
                    delta = {"type": "input_json_delta", "partial_json": said[i : i + 3]}
                    yield "content_block_delta", {"index": index, "delta": delta}
                yield "content_block_stop", {"index": index}
            yield "message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": usage}
            yield "message_stop", {}

    if upstream is GEMINI:
        return b"data: " + answer(upstream, arguments) + b"\n\n"
    out = b""
    for name, data in frames():
        named = f"event: {name}\n" if name else ""
        out += f"{named}data: {json.dumps({'type': name, **data} if name else data)}\n\n".encode()
    return out + (b"data: [DONE]\n\n" if upstream is CHAT else b"")


def seen(client: Dialect, body: bytes, *, streams: bool) -> list[tuple[str, bool, str]]:
    """The calls a client of this dialect sees: name, whether it is a custom one, what it says."""
    if streams:
        verdict = judge(client.value, stream=True, body=body)
        assert verdict.legal, verdict.faults
        decoder, whole = DIALOGUES[client].stream_decoder(), Assembler()
        for event in (*decoder.feed(body), *decoder.end()):
            whole.take(event)
        response = whole.response()
    else:
        response = DIALOGUES[client].decode_response(body)
    return [
        (call.name, call.custom, call.arguments) for call in response.choices[0].parts if isinstance(call, ToolCall)
    ]


WANTED = [("patch", True, PATCH), ("add", False, {"input": "a function's own"})]


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_client_sees_its_own_tool_called(client: Dialect, upstream: Dialect) -> None:
    arguments = json.dumps({"input": PATCH})
    made = hub(client, upstream)
    made.request(request(client))
    whole = answer(upstream, arguments)
    assert made.complaint(whole) is None
    found = seen(client, made.answer(whole), streams=False)
    assert [(n, c, s if c else json.loads(s)) for n, c, s in found] == WANTED
    for size in (1, 7, 64, 1 << 20):
        made = hub(client, upstream, streams=True)
        made.request(request(client))
        made.begins(b"text/event-stream")
        body = stream(upstream, arguments)
        out = b"".join(made.feed(body[i : i + size]) for i in range(0, len(body), size)) + made.end()
        found = seen(client, out, streams=True)
        assert [(n, c, s if c else json.loads(s)) for n, c, s in found] == WANTED
    assert made.finished


@pytest.mark.parametrize("client", CLIENTS)
def test_the_text_is_streamed_as_it_is_written(client: Dialect) -> None:
    made = hub(client, MESSAGES, streams=True)
    made.request(request(client))
    made.begins(b"text/event-stream")
    body = stream(MESSAGES, json.dumps({"input": "abcdef" * 50}))
    made.feed(body[: len(body) // 2])
    told = made.feed(body[len(body) // 2 : len(body) // 2 + 2_000])
    assert b'"efa"' in told  # pieces of three, as they came


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("arguments", ['{"input": "cut o', "no JSON at all", '{"patch": "other name"}', ""])
def test_arguments_that_are_not_as_asked_for_are_the_models_text(client: Dialect, arguments: str) -> None:
    said = {'{"input": "cut o': "cut o", '{"patch": "other name"}': "other name"}.get(arguments, arguments)
    for streams in (False, True):
        made = hub(client, CHAT, streams=streams)
        made.request(request(client))
        body = (stream if streams else answer)(CHAT, arguments)
        if streams:
            made.begins(b"text/event-stream")
            out = made.feed(body) + made.end()
        else:
            assert made.complaint(body) is None
            out = made.answer(body)
        assert seen(client, out, streams=streams)[0] == ("patch", True, said)


def test_a_function_that_nobody_called_custom_stays_one() -> None:
    made = hub(RESPONSES, CHAT)
    made.request(b'{"model":"m","input":"go"}')
    body = answer(CHAT, '{"input": "x"}')
    assert made.complaint(body) is None
    assert seen(RESPONSES, made.answer(body), streams=False)[0] == ("patch", False, '{"input": "x"}')
