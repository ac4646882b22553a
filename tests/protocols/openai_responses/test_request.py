"""Responses requests: what is read, what is written, and that every recorded one comes back meaning the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Audio,
    CacheMark,
    Citation,
    CitationKind,
    File,
    FileRef,
    Image,
    Inline,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Url,
)
from gproxy.canonical.request import (
    CustomTool,
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
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.openai_responses.dialogue import PROTOCOL
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges

OWN, CHAT, CLAUDE, GEMINI = (
    Dialect.OPENAI_RESPONSES,
    Dialect.OPENAI_CHAT,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI,
)

SAYS_NOTHING: list[tuple[str, Any]] = [
    # An item is complete unless it says otherwise; lists that hold nothing; the defaults of a text that is sent back.
    ("status", "completed"),
    ("status", "in_progress"),
    ("annotations", []),
    ("logprobs", []),
    ("include", []),
    ("stream", False),
    ("effort", None),
    ("type", "message"),
]


def plain(value: Any) -> Any:
    """A body without the differences that mean nothing."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {k: plain(v) for k, v in value.items() if v is not None and (k, v) not in SAYS_NOTHING}
    if "include" in out:
        out["include"] = sorted(out["include"])
    for key in ("content", "output"):
        if isinstance(out.get(key), str):
            kind = "output_text" if out.get("role") == "assistant" else "input_text"
            out[key] = [{"type": kind, "text": out[key]}]
    if isinstance(out.get("input"), str) and "model" in out:
        out["input"] = [{"role": "user", "content": [{"type": "input_text", "text": out["input"]}]}]
    return out


def again(body: bytes) -> tuple[Any, Losses]:
    losses = Losses()
    return json.loads(PROTOCOL.encode_request(PROTOCOL.decode_request(body), losses)), losses


def test_every_recorded_request_comes_back_meaning_the_same() -> None:
    seen = 0
    for case in exchanges("openai-responses"):
        if case.request is None:
            continue
        seen += 1
        written, losses = again(case.request)
        assert not losses, (case.name, losses.header())
        assert plain(written) == plain(json.loads(case.request)), case.name
        # What is written is stable.
        assert again(json.dumps(written).encode())[0] == written, case.name
    assert seen > 200


def request(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}).encode()


def turns(*items: dict[str, Any]) -> tuple[Turn, ...]:
    return PROTOCOL.decode_request(request(input=list(items))).turns


def write(*parts: Part, role: Role = Role.ASSISTANT, **fields: Any) -> tuple[list[dict[str, Any]], Losses]:
    losses = Losses()
    body = json.loads(PROTOCOL.encode_request(Request("m", (Turn(role, parts, **fields),)), losses))
    return body["input"], losses


def test_nothing_is_defaulted() -> None:
    assert PROTOCOL.decode_request(request()) == Request("m", (Turn(Role.USER, (Text("hi"),)),))
    assert PROTOCOL.decode_request(b'{"model":"m","previous_response_id":"r"}') == Request("m", (), previous_id="r")


def test_instructions_stay_instructions_and_system_messages_stay_where_they_stand() -> None:
    body = request(instructions="be", input=[{"role": "user", "content": "a"}, {"role": "system", "content": "now"}])
    read = PROTOCOL.decode_request(body)
    assert [(t.role, t.parts[0].text) for t in read.turns if isinstance(t.parts[0], Text)] == [
        (Role.SYSTEM, "be"),
        (Role.USER, "a"),
        (Role.SYSTEM, "now"),
    ]
    assert plain(again(body)[0]) == plain(json.loads(body))
    assert write(Text("be"), role=Role.SYSTEM)[0] == [{"type": "message", "role": "system", "content": "be"}]


REASONING: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
    "encrypted_content": "sealed",
}
CALLS: list[dict[str, Any]] = [
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "g", "input": "free text"},
]
RESULTS: list[dict[str, Any]] = [
    {"type": "function_call_output", "call_id": "c1", "output": "r1"},
    {
        "type": "custom_tool_call_output",
        "call_id": "c2",
        "output": [
            {"type": "input_text", "text": "r2"},
            {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
        ],
    },
]
SAID: dict[str, Any] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "one", "annotations": []}, {"type": "refusal", "refusal": "no"}],
}


def test_a_tool_loop_with_reasoning_is_one_turn_and_comes_back_item_by_item() -> None:
    items: list[dict[str, Any]] = [
        {"role": "user", "content": "go"},
        REASONING,
        SAID,
        *CALLS,
        *RESULTS,
        {"role": "developer", "content": "x"},
    ]
    found = turns(*items)
    assert [turn.role for turn in found] == [Role.USER, Role.ASSISTANT, Role.USER, Role.DEVELOPER]
    kinds = [type(part) for part in found[1].parts]
    assert kinds == [Thinking, Thinking, Text, Refusal, ToolCall, ToolCall]
    first, second = found[1].parts[:2]
    assert isinstance(first, Thinking)
    assert isinstance(second, Thinking)
    assert (first.text, first.signature, first.id, first.summary) == ("a", None, "rs_1", True)
    assert (second.text, second.signature) == ("b", Signature(OWN, "sealed"))
    assert [(r.call_id, r.name, r.custom) for r in found[2].parts if isinstance(r, ToolResult)] == [
        ("c1", "f", False),
        ("c2", "g", True),
    ]
    written, losses = again(request(input=items))
    assert plain(written["input"]) == plain(items)
    assert not losses


def test_what_follows_each_other_stays_apart() -> None:
    easy = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert [turn.parts for turn in turns(*easy)] == [
        (Text("a", extras={OWN: {"item": {}}}),),
        (Text("b", extras={OWN: {"item": {}}}),),
    ]
    two = [
        REASONING,
        {**REASONING, "id": "rs_2", "encrypted_content": None},
        {**REASONING, "id": "rs_3", "summary": []},
    ]
    assert plain(again(request(input=two))[0]["input"]) == plain(two)


def test_items_of_the_vendor_s_own_tools_travel_whole() -> None:
    items: list[dict[str, Any]] = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {
            "type": "computer_call",
            "id": "cu_1",
            "call_id": "c",
            "action": {"type": "click", "x": 1},
            "status": "completed",
        },
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": "u"}},
        {"type": "local_shell_call_output", "id": "l", "output": "{}"},
        {
            "type": "image_generation_call",
            "id": "ig_1",
            "status": "completed",
            "result": "QUJD",
            "output_format": "webp",
        },
        {"type": "mcp_approval_response", "approval_request_id": "m", "approve": True},
        {"type": "item_reference", "id": "msg_9"},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "e"},
        {"type": "novelty", "id": "n_1", "anything": [1]},
    ]
    (turn,) = turns(*items)
    assert turn.role is Role.ASSISTANT
    search, _, click = turn.parts[:3]
    assert isinstance(search, ServerToolCall)
    assert isinstance(click, ServerToolCall)
    assert (search.kind, search.arguments) == (ServerToolKind.WEB_SEARCH, '{"type":"search","query":"q"}')
    assert click.kind is ServerToolKind.COMPUTER
    assert any(isinstance(part, Image) and part.source == Inline("QUJD", "image/webp") for part in turn.parts)
    assert again(request(input=items))[0]["input"] == items
    assert turns({"id": "msg_9"}) == (
        Turn(Role.ASSISTANT, (Opaque(OWN, "item_reference", {"id": "msg_9", "type": "item_reference"}),)),
    )


def test_media() -> None:
    (turn,) = turns(
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
                {"type": "input_image", "image_url": "https://x/y.png"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
                {"type": "input_file", "filename": "a.txt", "file_data": "QQ=="},
                {"type": "input_file", "file_url": "https://x/a.pdf"},
                {"type": "input_file", "file_id": "file-2"},
                {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
                {"type": "input_text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit"}},
            ],
        }
    )
    assert turn.parts[:8] == (
        Image(Inline("QUJD", "image/png"), "low"),
        Image(Url("https://x/y.png")),
        Image(FileRef("file-1")),
        File(Inline("QQ==", "application/pdf"), "a.pdf"),
        File(Inline("QQ==", "text/plain"), "a.txt"),
        File(Url("https://x/a.pdf")),
        File(FileRef("file-2")),
        Audio(Inline("QQ==", "audio/mp3"), "mp3"),
    )
    assert isinstance(turn.parts[8], Text)
    assert turn.parts[8].cache == CacheMark()


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        ("auto", ToolMode.AUTO, ()),
        ("none", ToolMode.NONE, ()),
        ("required", ToolMode.REQUIRED, ()),
        ({"type": "function", "name": "f"}, ToolMode.REQUIRED, ("f",)),
        ({"type": "custom", "name": "g"}, ToolMode.REQUIRED, ("g",)),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ToolMode.AUTO,
            ("f",),
        ),
        ({"type": "web_search"}, ToolMode.AUTO, ()),
        ({"type": "mcp", "server_label": "s", "name": "t"}, ToolMode.AUTO, ()),
    ],
)
def test_tool_choices(choice: Any, mode: ToolMode, names: tuple[str, ...]) -> None:
    tools = [{"type": "function", "name": "f", "parameters": {}, "strict": True}, {"type": "custom", "name": "g"}]
    body = request(tools=tools, tool_choice=choice)
    read = PROTOCOL.decode_request(body).tool_choice
    assert read is not None
    assert (read.mode, read.names) == (mode, names)
    assert again(body)[0]["tool_choice"] == choice


def test_tools() -> None:
    location = {"type": "approximate", "country": "DE"}
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    tools = [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "defer_loading": True},
        {"type": "custom", "name": "g", "format": grammar},
        {
            "type": "web_search",
            "filters": {"allowed_domains": ["x"]},
            "user_location": location,
            "search_context_size": "low",
        },
        {"type": "web_search_preview_2025_03_11"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "mcp", "server_label": "s", "server_url": "https://m"},
        {"type": "apply_patch"},
    ]
    body = request(tools=tools)
    read = PROTOCOL.decode_request(body).tools or ()
    assert read[0] == FunctionTool("f", "d", {"type": "object"}, extras={OWN: {"defer_loading": True, "strict": None}})
    # The grammar stands in an object of its own, as chat completions have it.
    assert isinstance(read[1], CustomTool)
    assert read[1].format == {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    assert isinstance(read[2], ServerTool)
    assert (read[2].allowed_domains, read[2].location, read[2].effort) == (("x",), {"country": "DE"}, "low")
    assert [tool.kind for tool in read[2:6] if isinstance(tool, ServerTool)] == [
        ServerToolKind.WEB_SEARCH, ServerToolKind.WEB_SEARCH, ServerToolKind.CODE_EXECUTION, ServerToolKind.MCP,
    ]  # fmt: skip
    assert isinstance(read[6], OpaqueTool)
    assert plain(again(body)[0]["tools"]) == tools


def test_a_tool_that_was_not_strict_elsewhere_is_not_strict_here() -> None:
    losses = Losses()
    body = json.loads(
        PROTOCOL.encode_request(
            Request(
                "m",
                (),
                tools=(
                    FunctionTool("f", schema={"type": "object"}),
                    FunctionTool("g", strict=True),
                    ServerTool(ServerToolKind.WEB_SEARCH, blocked_domains=("x",), max_uses=3),
                    ServerTool(ServerToolKind.CODE_EXECUTION),
                    ServerTool(ServerToolKind.WEB_FETCH),
                    OpaqueTool(CLAUDE, "memory", {}),
                ),
                tool_choice=ToolChoice(ToolMode.AUTO, ("f", "g")),
            ),
            losses,
        )
    )
    empty = {"type": "object", "properties": {}}
    assert body["tools"] == [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False},
        {"type": "function", "name": "g", "parameters": empty, "strict": True},
        {"type": "web_search", "filters": {"blocked_domains": ["x"]}},
        {"type": "code_interpreter", "container": {"type": "auto"}},
    ]
    assert body["tool_choice"]["type"] == "allowed_tools"
    assert losses.header() == "other, server_tool"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"effort": "low", "summary": "auto"}, Reasoning(effort=Effort.LOW, show="auto", extras={OWN: {}})),
        ({"effort": "none"}, Reasoning(effort=Effort.NONE, extras={OWN: {}})),
        ({"generate_summary": "concise"}, Reasoning(show="concise", extras={OWN: {"generate_summary": "concise"}})),
        ({"effort": "heroic", "mode": "pro"}, Reasoning(extras={OWN: {"effort": "heroic", "mode": "pro"}})),
    ],
)
def test_reasoning(said: dict[str, Any], expected: Reasoning) -> None:
    assert PROTOCOL.decode_request(request(reasoning=said)).reasoning == expected
    written, losses = again(request(reasoning=said))
    assert written["reasoning"] == said
    assert "include" not in written
    assert not losses


@pytest.mark.parametrize(
    ("reasoning", "written", "included", "lost"),
    [
        (Reasoning(effort=Effort.HIGH), {"effort": "high"}, True, ""),
        (
            Reasoning(enabled=True, budget=9000, show="full"),
            {"effort": "medium", "summary": "detailed"},
            True,
            "reasoning",
        ),
        (Reasoning(adaptive=True, show="auto"), {"summary": "auto"}, True, ""),
        (Reasoning(enabled=False), {"effort": "none"}, False, ""),
        (Reasoning(budget=0), {"effort": "none"}, False, "reasoning"),
        (Reasoning(), None, False, ""),
        (None, None, False, ""),
    ],
)
def test_reasoning_from_elsewhere(reasoning: Reasoning | None, written: Any, included: bool, lost: str) -> None:
    losses = Losses()
    body = json.loads(PROTOCOL.encode_request(Request("m", (), reasoning=reasoning), losses))
    assert body.get("reasoning") == written
    # Clients of other dialects keep the conversation themselves: what stays with the vendor would be lost to it.
    assert (body.get("include") == ["reasoning.encrypted_content"]) is included
    assert losses.header() == lost


def test_settings() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}
    fields: dict[str, Any] = {
        "text": {"format": schema, "verbosity": "low"},
        "max_output_tokens": 99,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_logprobs": 3,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
        "parallel_tool_calls": False,
        "service_tier": "flex",
        "metadata": {"k": "v"},
        "store": False,
        "previous_response_id": "resp_0",
        "prompt_cache_key": "key",
        "safety_identifier": "who",
        "truncation": "auto",
        "background": True,
        "stream": True,
    }
    read = PROTOCOL.decode_request(request(**fields))
    assert read.output == OutputFormat(OutputKind.SCHEMA, {"type": "object"}, "n", "d", True)
    assert (read.verbosity, read.user, read.previous_id, read.store, read.cache_key) == (
        "low",
        "who",
        "resp_0",
        False,
        "key",
    )
    assert read.sampling == Sampling(temperature=0.5, top_p=0.9, max_output_tokens=99, logprobs=True, top_logprobs=3)
    assert read.extras == {
        OWN: {
            "safety_identifier": "who",
            "truncation": "auto",
            "background": True,
            "include": ["file_search_call.results"],
        }
    }
    assert plain(again(request(**fields))[0]) == plain(json.loads(request(**fields)))
    for form, kind in (("text", OutputKind.TEXT), ("json_object", OutputKind.JSON)):
        output = PROTOCOL.decode_request(request(text={"format": {"type": form}})).output
        assert output is not None
        assert output.kind is kind


def test_a_foreign_request_says_what_it_lost() -> None:
    signature = Signature(CLAUDE, "sig")
    losses = Losses()
    body = json.loads(
        PROTOCOL.encode_request(
            Request(
                "m",
                (
                    Turn(Role.USER, (Text("hi", cache=CacheMark()), Image(FileRef("f"))), name="bob"),
                    Turn(
                        Role.ASSISTANT,
                        (
                            Thinking("t", signature),
                            RedactedThinking(signature),
                            ServerToolCall("s", ServerToolKind.WEB_SEARCH, "web_search"),
                            ServerToolResult("s", ServerToolKind.WEB_SEARCH),
                            Text("a", (Citation(CitationKind.URL, "https://x", start=0, end=1),)),
                            Refusal("no"),
                            ToolCall("c", "f", signature=Signature(GEMINI, "g")),
                        ),
                    ),
                    Turn(
                        Role.USER,
                        (ToolResult("c", (Text("r"), Image(Url("u")), Audio(Inline("QQ==", "audio/wav"))), is_error=True), Text("next")),
                    ),
                ),
                sampling=Sampling(top_k=5, stop=("x",), seed=1, n=2, presence_penalty=1, logit_bias={"1": 1}),
                modalities=("text", "audio"),
                extras={CHAT: {"web_search_options": {}}},
            ),
            losses,
        )
    )  # fmt: skip
    assert set(losses.header().split(", ")) == {
        "other", "speaker_name", "cache_control", "thinking", "redacted_thinking", "server_tool", "signature",
        "tool_result_error", "tool_result_parts", "top_k", "stop", "seed", "n", "penalties", "logit_bias", "modalities",
    }  # fmt: skip
    assert body["input"] == [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "file_id": "f"}],
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "a",
                    "annotations": [
                        {"type": "url_citation", "url": "https://x", "title": "", "start_index": 0, "end_index": 1}
                    ],
                },
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_text", "text": "r"}, {"type": "input_image", "image_url": "u"}],
        },
        {"type": "message", "role": "user", "content": "next"},
    ]


def test_own_reasoning_that_went_through_another_dialect_goes_back_sealed_but_nameless() -> None:
    items, losses = write(Thinking("t", Signature(OWN, "sealed")), RedactedThinking(Signature(OWN, "dark")), Text("a"))
    assert items[:2] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "sealed"},
        {"type": "reasoning", "summary": [], "encrypted_content": "dark"},
    ]
    assert not losses


def test_foreign_signatures_survive_a_client_that_returns_what_it_got() -> None:
    """Also those on calls and texts, for which this dialect has no field; and also from a client that drops ids."""
    said: tuple[Part, ...] = (
        Thinking("hm", Signature(CLAUDE, "sig"), summary=True),
        RedactedThinking(Signature(CLAUDE, "dark")),
        Thinking("", Signature(CLAUDE, "mute"), summary=True),
        Text("a", signature=Signature(GEMINI, "t")),
        Text("b"),
        ToolCall("c", "f", "{}", signature=Signature(GEMINI, "g")),
        ToolCall("d", "f", "{}"),
    )
    for dropped in ((), ("id", "status")):
        output = answer(said)
        items = [{k: v for k, v in item.items() if k not in dropped} for item in output]
        (turn,) = turns(*items)
        assert [bare(part) for part in turn.parts] == list(said)


def answer(parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    response = Response("r", "m", (Choice(0, parts, Stop(StopReason.END)),))
    body = PROTOCOL.encode_response(response, ReplyFacts("resp_1", "m", 1), Losses())
    output: list[dict[str, Any]] = json.loads(body)["output"]
    return output


def bare(part: Part) -> Part:
    match part:
        case Text():
            return Text(part.text, part.citations, part.signature)
        case Thinking():
            return Thinking(part.text, part.signature, part.summary)
        case RedactedThinking():
            return RedactedThinking(part.data)
        case Refusal():
            return Refusal(part.text)
        case ToolCall():
            return ToolCall(part.id, part.name, part.arguments, part.custom, part.signature)
        case ToolResult():
            return ToolResult(part.call_id, tuple(bare(p) for p in part.parts), custom=part.custom)
        case _:
            return part


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", None),
        (b'{"input":"x"}', "model"),
        (request(input=5), "input"),
        (request(input=[5]), "input[0]"),
        (request(input=[{}]), "input[0].type"),
        (request(input=[{"role": "king", "content": "x"}]), "input[0].role"),
        (request(input=[{"role": "user", "content": 5}]), "input[0].content"),
        (request(input=[{"role": "user", "content": [5]}]), "input[0].content[0]"),
        (request(input=[{"role": "user", "content": [{"type": "input_text", "text": 1}]}]), "input[0].content[0].text"),
        (request(input=[{"role": "user", "content": [{"type": "input_file"}]}]), "input[0].content[0]"),
        (request(input=[{"type": "function_call", "name": "f"}]), "input[0].call_id"),
        (request(input=[{"type": "function_call", "call_id": "c"}]), "input[0].name"),
        (request(input=[{"type": "function_call_output", "output": "x"}]), "input[0].call_id"),
        (request(input=[{"type": "reasoning", "summary": "x"}]), "input[0].summary"),
        (request(input=[{"type": "reasoning", "summary": [{"text": 5}]}]), "input[0].summary[0].text"),
        (request(instructions=["x"]), "instructions"),
        (request(temperature="hot"), "temperature"),
        (request(max_output_tokens=1.5), "max_output_tokens"),
        (request(tools=[{"type": "function"}]), "tools[0].name"),
        (request(tools=[5]), "tools[0]"),
        (request(tool_choice="perhaps"), "tool_choice"),
        (request(text=[]), "text"),
        (request(text={"format": 5}), "text.format"),
        (request(reasoning="hard"), "reasoning"),
        (request(reasoning={"effort": 5}), "reasoning.effort"),
        (request(include="a", stream="yes"), "stream"),
    ],
)
def test_refusals_name_the_field(body: bytes, field: str | None) -> None:
    with pytest.raises(JsonProblem) as problem:
        PROTOCOL.decode_request(body)
    assert problem.value.field == field


def test_results_without_an_id_come_in_the_order_of_the_calls() -> None:
    found = turns(
        *CALLS, {"type": "function_call_output", "output": "1"}, {"type": "function_call_output", "output": "2"}
    )
    assert [part.call_id for part in found[1].parts if isinstance(part, ToolResult)] == ["c1", "c2"]


# --- properties ---

TEXT = st.text(min_size=1, max_size=8)
MEDIA = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Image, st.sampled_from([Inline("QUJD", "image/png"), Url("https://x/y"), FileRef("f")]), st.sampled_from([None, "low"])),
    st.builds(File, st.sampled_from([Inline("QQ==", "application/pdf"), Url("https://x/y", "application/pdf"), FileRef("f")]), st.just("a.pdf")),
)  # fmt: skip
RESULT = st.builds(
    ToolResult, st.text("ab1", min_size=1), st.lists(MEDIA, min_size=1, max_size=3).map(tuple), custom=st.booleans()
)
OWNED = st.builds(Signature, st.just(OWN), TEXT)
SPOKEN = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Refusal, TEXT),
    st.builds(Thinking, st.text(max_size=4), OWNED, st.just(True)),
    st.builds(RedactedThinking, OWNED),
    st.builds(ToolCall, st.text("ab1", min_size=1), st.text("fg", min_size=1), st.sampled_from(["{}", '{"a":1}']), st.booleans()),
)  # fmt: skip
TURNS = st.one_of(
    st.builds(
        Turn, st.sampled_from([Role.USER, Role.SYSTEM, Role.DEVELOPER]), st.lists(MEDIA, min_size=1, max_size=3).map(tuple)
    ),
    st.builds(Turn, st.just(Role.USER), st.lists(RESULT, min_size=1, max_size=3).map(tuple)),
    st.builds(Turn, st.just(Role.ASSISTANT), st.lists(SPOKEN, min_size=1, max_size=5).map(tuple)),
)  # fmt: skip


def gathered(found: tuple[Turn, ...]) -> list[tuple[Role, list[Part]]]:
    """Turns as they come back: neighbours of the assistant and neighbouring results are one turn each."""
    out: list[tuple[Role, list[Part]]] = []
    for turn in found:
        parts = [bare(part) for part in turn.parts]
        joins = turn.role is Role.ASSISTANT or any(isinstance(part, ToolResult) for part in parts)
        last = out[-1] if out else None
        if (
            joins
            and last is not None
            and last[0] is turn.role
            and isinstance(last[1][-1], ToolResult) is isinstance(parts[0], ToolResult)
        ):
            last[1].extend(parts)
        else:
            out.append((turn.role, parts))
    return out


@settings(max_examples=200, deadline=None)
@given(st.lists(TURNS, max_size=5).map(tuple))
def test_any_conversation_survives_being_written(found: tuple[Turn, ...]) -> None:
    losses = Losses()
    body = PROTOCOL.encode_request(Request("m", found), losses)
    assert not losses, losses.header()
    back = PROTOCOL.decode_request(body)
    assert gathered(back.turns) == gathered(found)
    assert again(body)[0] == json.loads(body)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["message", "user", "reasoning", "function_call", "x"])),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["type", "role", "content", "summary", "output", "call_id", "name", "text", "id", "format"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=8,
    ),
    st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning", "include", "metadata", "instructions"]),
)  # fmt: skip
def test_malformed_requests_are_read_or_refused(value: Any, field: str) -> None:
    try:
        read = PROTOCOL.decode_request(request(**{field: value}))
    except JsonProblem:
        return
    PROTOCOL.encode_request(read, Losses())
