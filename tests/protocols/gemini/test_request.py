"""Gemini requests: what is read, what is written, and that every recorded one comes back meaning the same."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Audio,
    CacheMark,
    File,
    FileRef,
    Image,
    Inline,
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
    OutputFormat,
    OutputKind,
    Reasoning,
    Request,
    Role,
    Sampling,
    ServerTool,
    Speech,
    ToolChoice,
    ToolMode,
    Turn,
)
from gproxy.protocols.gemini.dialogue import PROTOCOL
from gproxy.protocols.gemini.names import SKIP_VALIDATION
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges

OWN = Dialect.GEMINI

# What means the same to Google, and so may differ after reading and writing.
FREE = frozenset({"args", "response", "labels", "parameters", "parametersJsonSchema", "responseSchema", "properties",
                  "responseJsonSchema", "partMetadata"})  # fmt: skip
EMPTY: tuple[Any, ...] = (None, {"text": ""}, {"parts": []})


def plain(value: Any, key: str = "") -> Any:
    """A body without the differences that mean nothing: see the comments."""
    if key in FREE:
        return value
    if isinstance(value, list):
        # Empty texts beside others say nothing; whole numbers may be written as fractions.
        kept = [plain(item, key) for item in value]
        return [item for item in kept if item not in EMPTY] or kept
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    for name, item in value.items():
        # Fields are written in either case; nulls and a false `thought` say nothing.
        camel = re.sub(r"(?<=[a-zA-Z0-9])_([a-z0-9])", lambda m: m.group(1).upper(), name)
        if item is None or (camel, item) == ("thought", False):
            continue
        out[camel] = plain(item, camel)
    if "data" in out and "mimeType" in out:
        # Both base64 alphabets are read.
        out["data"] = out["data"].replace("-", "+").replace("_", "/").rstrip("=")
    if key in ("contents", "") and "parts" in out:
        out.setdefault("role", "user")
    if key == "functionCallingConfig" and "mode" in out:
        out["mode"] = out["mode"].upper()
    if key == "systemInstruction":
        out.pop("role", None)
    if key == "":
        out.pop("model", None)  # it is said in the path
        for name in [n for n in ("generationConfig", "toolConfig") if not out.get(n)]:
            out.pop(name, None)
    # One entry of tools or several, in a list or alone: the tools are the same.
    if key == "" and isinstance(out.get("tools"), dict):
        out["tools"] = [out["tools"]]
    if isinstance(out.get("tools"), list):
        entries = out["tools"]
        functions = [f for entry in entries for f in entry.get("functionDeclarations") or ()]
        others = [{k: v} for entry in entries for k, v in entry.items() if k != "functionDeclarations"]
        out["tools"] = [{"functionDeclarations": functions}, *others]
    return out


def again(body: bytes, model: str = "m") -> tuple[Any, Losses]:
    losses = Losses()
    return json.loads(PROTOCOL.encode_request(PROTOCOL.decode_request(body, model=model), losses)), losses


def test_every_recorded_request_comes_back_meaning_the_same() -> None:
    seen = 0
    for case in exchanges("gemini"):
        if case.request is None:
            continue
        try:
            written, losses = again(case.request)
        except JsonProblem:
            assert case.status == 400, case.name
            continue
        seen += 1
        assert not losses, (case.name, losses.header())
        assert plain(written) == plain(json.loads(case.request)), case.name
    assert seen > 200


def request(*parts: Any, **fields: Any) -> bytes:
    contents = [{"role": "user", "parts": list(parts) or [{"text": "hi"}]}]
    return json.dumps({"contents": contents, **fields}).encode()


def read(*contents: dict[str, Any], **fields: Any) -> Request:
    return PROTOCOL.decode_request(json.dumps({"contents": list(contents), **fields}).encode(), model="m")


def write(asked: Request) -> tuple[dict[str, Any], Losses]:
    losses = Losses()
    body: dict[str, Any] = json.loads(PROTOCOL.encode_request(asked, losses))
    return body, losses


def test_nothing_is_defaulted() -> None:
    assert PROTOCOL.decode_request(request(), model="m") == Request("m", (Turn(Role.USER, (Text("hi"),)),))


def test_the_model_is_said_in_the_path_or_in_the_body() -> None:
    assert PROTOCOL.decode_request(request(model="models/x")).model == "x"
    assert PROTOCOL.decode_request(request(model="models/x"), model="y", stream=True).model == "y"
    with pytest.raises(JsonProblem):
        PROTOCOL.decode_request(request())


def test_both_spellings_and_one_part_for_a_list() -> None:
    found = read(
        {"parts": {"inline_data": {"mime_type": "image/png", "data": "_-8"}}},
        system_instruction={"parts": {"text": "be"}},
        generation_config={"max_output_tokens": "7", "top_k": 40.0, "thinking_config": {"thinking_budget": 0}},
        tool_config={"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
    )
    assert found.turns == (
        Turn(Role.SYSTEM, (Text("be"),)),
        Turn(Role.USER, (Image(Inline("/+8=", "image/png")),)),
    )
    assert found.sampling == Sampling(max_output_tokens=7, top_k=40)
    assert found.tool_choice == ToolChoice(ToolMode.REQUIRED, ("f",))
    assert found.reasoning is not None
    assert (found.reasoning.enabled, found.reasoning.budget) == (False, 0)


def test_calls_without_ids_are_joined_by_name_and_order() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    other = {"functionCall": {"name": "g", "args": {}}}
    contents = (
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [call, other, call]},
        {
            "role": "user",
            "parts": [
                {"text": "so"},
                {"functionResponse": {"name": "g", "response": {"result": "2"}}},
                {"functionResponse": {"name": "f", "response": {"output": "1"}}},
                {"functionResponse": {"name": "f", "response": {"a": 3}}},
            ],
        },
        {"role": "model", "parts": [call]},
    )
    found = read(*contents)
    first, second, third, fourth = (p for t in found.turns for p in t.parts if isinstance(p, ToolCall))
    assert len({first.id, second.id, third.id, fourth.id}) == 4
    results = [p for p in found.turns[2].parts if isinstance(p, ToolResult)]
    assert [r.call_id for r in results] == [second.id, first.id, third.id]
    assert [r.parts for r in results] == [(Text("2"),), (Text("1"),), (Text('{"a":3}'),)]
    assert isinstance(found.turns[2].parts[-1], Text)
    # A longer conversation gives the same calls the same ids.
    assert read(*contents[:2]).turns[1].parts == found.turns[1].parts
    # Made ids are not written; the results then stand in the order of the calls.
    body, losses = write(found)
    assert not losses
    assert body["contents"][1]["parts"] == [call, other, call]
    names = [p["functionResponse"]["name"] for p in body["contents"][2]["parts"][:3]]
    assert names == ["f", "g", "f"]
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == {"output": "1"}


def test_ids_of_the_wire_are_kept() -> None:
    body = request()
    contents = [
        {"role": "model", "parts": [{"functionCall": {"id": "c2", "name": "f", "args": {}}},
                                    {"functionCall": {"id": "c1", "name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "f", "response": {"output": "x"}}},
                                   {"functionResponse": {"id": "c2", "name": "f", "response": {"error": "y"}}}]},
    ]  # fmt: skip
    body = json.dumps({"contents": contents}).encode()
    first, second = PROTOCOL.decode_request(body, model="m").turns[1].parts
    assert first == ToolResult("c1", (Text("x"),), "f")
    assert isinstance(second, ToolResult)
    assert (second.call_id, second.is_error) == ("c2", True)
    assert again(body)[0]["contents"] == contents


def test_a_made_id_survives_a_foreign_client() -> None:
    """An answer without ids goes to a client that knows only ids; what it sends back is matched again."""
    answer = PROTOCOL.decode_response(
        json.dumps(
            {
                "responseId": "r",
                "candidates": [
                    {
                        "content": {
                            "parts": [
                                {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
                                {"functionCall": {"name": "f", "args": {"x": 1}}},
                            ]
                        }
                    }
                ],
            }
        ).encode()
    )
    calls = [part for part in answer.choices[0].parts if isinstance(part, ToolCall)]
    assert calls[0].id != calls[1].id
    results = tuple(ToolResult(call.id, (Text(call.id),)) for call in reversed(calls))
    body, losses = write(
        Request(
            "gemini-3-pro",
            (Turn(Role.USER, (Text("q"),)), Turn(Role.ASSISTANT, tuple(calls)), Turn(Role.USER, results)),
        )
    )
    assert not losses
    model, user = body["contents"][1:]
    assert model["parts"][0] == {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"}
    assert [p["functionResponse"]["response"]["output"] for p in user["parts"]] == [calls[0].id, calls[1].id]
    assert all("id" not in p["functionResponse"] for p in user["parts"])


def test_results_of_one_round_stand_in_one_content() -> None:
    calls = (ToolCall("a", "f"), ToolCall("b", "g"))
    turns = (
        Turn(Role.ASSISTANT, calls),
        Turn(Role.USER, (ToolResult("a", (Text("1"),)),)),
        Turn(Role.USER, (ToolResult("b", (Text("2"),)), Text("go on"))),
    )
    body, _ = write(Request("m", turns))
    assert [content["role"] for content in body["contents"]] == ["model", "user"]
    names = [p.get("functionResponse", {}).get("name") for p in body["contents"][1]["parts"]]
    assert names == ["f", "g", None]


@pytest.mark.parametrize(
    ("model", "inside"), [("gemini-3-pro-preview", True), ("gemini-2.5-flash", False), ("my-model", True)]
)
def test_pictures_in_results(model: str, inside: bool) -> None:
    picture = Image(Inline("QUJD", "image/png"))
    turns = (Turn(Role.USER, (ToolResult("a", (Text("1"), picture), "f"),)),)
    body, losses = write(Request(model, turns))
    written = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    response = body["contents"][0]["parts"][0]["functionResponse"]
    assert response.get("parts") == ([written] if inside else None)
    assert body["contents"][0]["parts"][1:] == ([] if inside else [written])
    assert losses.header() == ("" if inside else "tool_result_parts")
    if inside:
        assert PROTOCOL.decode_request(json.dumps(body).encode(), model="m").turns == turns


def test_signatures_come_back_to_the_byte() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "hm", "thought": True},
        {"text": "t", "thought": True, "thoughtSignature": "A-_b"},
        {"text": "said", "thoughtSignature": "B+/c="},
        {"text": "", "thoughtSignature": "RA=="},
        {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "E"},
        {"functionCall": {"id": "2", "name": "f", "args": {}}},
        {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "F"},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}, "thoughtSignature": "G"},
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}, "thoughtSignature": "H"},
        {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}, "thoughtSignature": "I"},
        {"toolCall": {"toolType": "FILE_SEARCH", "id": "x"}, "thoughtSignature": "J"},
        {"toolResponse": {"toolType": "FILE_SEARCH", "id": "x"}, "thoughtSignature": "K"},
        {"thoughtSignature": "L"},
    ]
    body = json.dumps({"contents": [{"role": "model", "parts": parts}]}).encode()
    written, losses = again(body)
    assert not losses
    parts[-1] = {"text": "", "thoughtSignature": "L"}
    assert written["contents"][0]["parts"] == parts
    found = PROTOCOL.decode_request(body, model="m").turns[0].parts
    assert found[:5] == (
        Thinking("hm"),
        Thinking("t", Signature(OWN, "A-_b")),
        Text("said", signature=Signature(OWN, "B+/c=")),
        Text("", signature=Signature(OWN, "RA==")),
        ToolCall("1", "f", "{}", signature=Signature(OWN, "E")),
    )


@pytest.mark.parametrize(
    ("model", "expected"), [("gemini-3-flash", SKIP_VALIDATION), ("gemini-2.5-pro", None), ("x", None)]
)
def test_a_call_that_another_model_made_goes_unvalidated(model: str, expected: str | None) -> None:
    turn = Turn(Role.ASSISTANT, (Text("so"), ToolCall("a", "f"), ToolCall("b", "f")))
    parts = write(Request(model, (turn,)))[0]["contents"][0]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, expected, None]


def test_other_vendors_thinking_is_left_out_by_name() -> None:
    foreign = Signature(Dialect.ANTHROPIC_MESSAGES, "sig")
    turn = Turn(Role.ASSISTANT, (Thinking("t", foreign), RedactedThinking(foreign), Text("a", signature=foreign)))
    body, losses = write(Request("m", (turn,)))
    assert body["contents"][0]["parts"] == [{"text": "a"}]
    assert losses.header() == "thinking, redacted_thinking, signature"


def test_media() -> None:
    (turn,) = read(
        {
            "parts": [
                {"fileData": {"fileUri": "https://x/y.png", "mimeType": "image/png"}},
                {"fileData": {"fileUri": "gs://b/a.wav", "mimeType": "audio/wav"}},
                {"fileData": {"fileUri": "https://youtu.be/x"}, "videoMetadata": {"fps": 1}},
                {"inlineData": {"mimeType": "application/pdf", "data": "QUJD", "displayName": "a.pdf"}},
                {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "QUJD"}},
            ]
        }
    ).turns
    assert turn.parts == (
        Image(Url("https://x/y.png", "image/png")),
        Audio(FileRef("gs://b/a.wav", "audio/wav"), "wav"),
        File(Url("https://youtu.be/x"), extras={OWN: {"videoMetadata": {"fps": 1}}}),
        File(Inline("QUJD", "application/pdf"), "a.pdf", extras={OWN: {"inlineData": {"displayName": "a.pdf"}}}),
        Audio(Inline("QUJD", "audio/L16;rate=24000"), "pcm16"),
    )


def test_tools_of_google() -> None:
    tools = [
        {"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT"}}]},
        {"googleSearch": {"excludeDomains": ["x.com"]}, "codeExecution": {}, "urlContext": {}},
        {"googleMaps": {"enableWidget": True}},
        {"mcpServers": [{"name": "m"}]},
    ]
    found = PROTOCOL.decode_request(request(tools=tools), model="m").tools
    assert found is not None
    function = found[0]
    assert isinstance(function, FunctionTool)
    assert (function.name, function.description, function.schema) == ("f", "d", {"type": "object"})
    kinds = [tool.kind for tool in found[1:] if isinstance(tool, ServerTool)]
    assert kinds == [
        ServerToolKind.WEB_SEARCH, ServerToolKind.CODE_EXECUTION, ServerToolKind.WEB_FETCH, ServerToolKind.MCP,
    ]  # fmt: skip
    assert isinstance(found[1], ServerTool)
    assert found[1].blocked_domains == ("x.com",)
    assert plain(again(request(tools=tools))[0]) == plain(json.loads(request(tools=tools)))


@pytest.mark.parametrize(
    ("mode", "names", "expected"),
    [
        ("AUTO", [], ToolChoice(ToolMode.AUTO)),
        ("ANY", [], ToolChoice(ToolMode.REQUIRED)),
        ("ANY", ["f"], ToolChoice(ToolMode.REQUIRED, ("f",))),
        ("NONE", [], ToolChoice(ToolMode.NONE)),
        ("VALIDATED", ["f", "g"], ToolChoice(ToolMode.AUTO, ("f", "g"), {OWN: {"mode": "VALIDATED"}})),
    ],
)
def test_tool_choices(mode: str, names: list[str], expected: ToolChoice) -> None:
    calling = {"mode": mode, **({"allowedFunctionNames": names} if names else {})}
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
    body = request(
        tools=tools, toolConfig={"functionCallingConfig": calling, "retrievalConfig": {"languageCode": "de"}}
    )
    assert PROTOCOL.decode_request(body, model="m").tool_choice == expected
    assert again(body)[0]["toolConfig"] == {
        "functionCallingConfig": calling, "retrievalConfig": {"languageCode": "de"},
    }  # fmt: skip


def test_a_choice_among_some_tools_is_validated() -> None:
    asked = Request("m", (), tools=(FunctionTool("f"),), tool_choice=ToolChoice(ToolMode.AUTO, ("f",)))
    assert write(asked)[0]["toolConfig"]["functionCallingConfig"] == {
        "mode": "VALIDATED", "allowedFunctionNames": ["f"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "kind", "kept", "told", "loss"),
    [
        ("gemini-2.5-flash", ServerToolKind.WEB_SEARCH, False, False, "server_tool"),
        ("gemini-2.5-flash", ServerToolKind.CODE_EXECUTION, True, False, ""),
        ("gemini-3-flash", ServerToolKind.WEB_SEARCH, True, True, ""),
        ("gemini-3-flash", ServerToolKind.COMPUTER, False, False, "server_tool"),
    ],
)
def test_functions_beside_tools_of_google(model: str, kind: ServerToolKind, kept: bool, told: bool, loss: str) -> None:
    body, losses = write(Request(model, (), tools=(FunctionTool("f"), ServerTool(kind))))
    assert len(body["tools"]) == (2 if kept else 1)
    assert body.get("toolConfig", {}).get("includeServerSideToolInvocations", False) is told
    assert losses.header() == loss


def test_a_custom_tool_becomes_a_function_of_one_text() -> None:
    call = ToolCall("c", "patch", "*** Begin", custom=True)
    body, losses = write(Request("m", (Turn(Role.ASSISTANT, (call,)),), tools=(CustomTool("patch"),)))
    assert body["contents"][0]["parts"][0]["functionCall"]["args"] == {"input": "*** Begin"}
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]["required"] == ["input"]
    assert losses.header() == "custom_tool"


REASONING = [
    ({"thinkingBudget": -1}, Reasoning(adaptive=True)),
    ({"thinkingBudget": 0, "includeThoughts": False}, Reasoning(enabled=False, budget=0, show="none")),
    ({"thinkingBudget": 99, "includeThoughts": True}, Reasoning(budget=99, show="auto")),
    ({"thinkingLevel": "low"}, Reasoning(effort=Effort.LOW)),
]


@pytest.mark.parametrize(("config", "expected"), REASONING)
def test_thinking_is_read(config: dict[str, Any], expected: Reasoning) -> None:
    body = request(generationConfig={"thinkingConfig": config})
    found = PROTOCOL.decode_request(body, model="m").reasoning
    assert found == Reasoning(
        expected.enabled, expected.effort, expected.budget, expected.adaptive, expected.show,
        {OWN: {"thinkingConfig": config}},
    )  # fmt: skip
    assert again(body)[0]["generationConfig"]["thinkingConfig"] == config


@pytest.mark.parametrize(
    ("model", "reasoning", "expected", "loss"),
    [
        ("gemini-2.5-pro", Reasoning(effort=Effort.LOW), {"thinkingBudget": 2048}, ""),
        ("gemini-2.5-pro", Reasoning(effort=Effort.MAX), {"thinkingBudget": 24576}, "reasoning"),
        ("gemini-2.5-pro", Reasoning(budget=9, show="full"), {"thinkingBudget": 9, "includeThoughts": True}, ""),
        ("gemini-2.5-pro", Reasoning(enabled=True), {"includeThoughts": True}, ""),
        ("gemini-2.5-pro", Reasoning(adaptive=True), {"thinkingBudget": -1}, ""),
        ("m", Reasoning(enabled=False), {"thinkingBudget": 0}, ""),
        ("gemini-3-pro", Reasoning(effort=Effort.MEDIUM, budget=5), {"thinkingLevel": "MEDIUM"}, ""),
        ("gemini-3-pro", Reasoning(effort=Effort.XHIGH, show="none"),
         {"thinkingLevel": "HIGH", "includeThoughts": False}, "reasoning"),
        ("gemini-3-pro", Reasoning(effort=Effort.NONE), {"thinkingLevel": "MINIMAL"}, "reasoning"),
        ("gemini-flash-latest", Reasoning(budget=5), {"thinkingBudget": 5}, ""),
    ],
)  # fmt: skip
def test_thinking_is_written(model: str, reasoning: Reasoning, expected: dict[str, Any], loss: str) -> None:
    body, losses = write(Request(model, (), reasoning=reasoning))
    assert body["generationConfig"]["thinkingConfig"] == expected
    assert losses.header() == loss


def test_forms_of_the_answer() -> None:
    for config, kind, schema in [
        ({"responseMimeType": "application/json"}, OutputKind.JSON, None),
        ({"responseMimeType": "text/plain"}, OutputKind.TEXT, None),
        ({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}},
         OutputKind.SCHEMA, {"type": "string", "enum": ["a"]}),
        ({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
         OutputKind.SCHEMA, {"type": "object"}),
    ]:  # fmt: skip
        body = request(generationConfig=config)
        found = PROTOCOL.decode_request(body, model="m").output
        assert found is not None
        assert (found.kind, found.schema) == (kind, schema)
        assert again(body)[0]["generationConfig"] == config


def test_speech_and_modalities() -> None:
    config = {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    found = PROTOCOL.decode_request(request(generationConfig=config), model="m")
    assert found.modalities == ("audio",)
    assert found.speech is not None
    assert found.speech.voice == "Kore"
    assert again(request(generationConfig=config))[0]["generationConfig"] == config
    body, losses = write(Request("m", (), speech=Speech("alloy", "mp3")))
    assert "generationConfig" not in body
    assert losses.header() == "audio"
    assert write(Request("m", (), speech=Speech("Puck")))[0]["generationConfig"]["speechConfig"]


def test_what_only_google_knows_travels() -> None:
    fields = {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/x",
        "labels": {"team_name": "a"},
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW", "imageConfig": {"aspectRatio": "1:1"}},
        "serviceTier": "flex",
        "somethingNew": {"a_b": 1},
    }
    written, losses = again(request(**fields))
    assert {k: written[k] for k in fields} == fields
    assert not losses


def test_a_foreign_request_says_what_it_lost() -> None:
    body, losses = write(
        Request(
            "m",
            (
                Turn(Role.SYSTEM, (Text("one"),)),
                Turn(Role.DEVELOPER, (Text("two"),)),
                Turn(Role.USER, (Text("hi", cache=CacheMark()), Image(FileRef("file-1")), Text("")), name="bob"),
                Turn(Role.ASSISTANT, (Refusal("no"), ToolCall("c", "f", "[1]"))),
                Turn(Role.USER, (ToolResult("c", (Text("r"),), is_error=True),)),
                Turn(Role.SYSTEM, (Text("late"),)),
            ),
            tools=(FunctionTool("f", schema={"$schema": "x", "const": "c", "not": {}}, strict=True),),
            parallel_tool_calls=False,
            sampling=Sampling(logit_bias={"1": 2}, n=2, stop=("x",)),
            output=OutputFormat(OutputKind.SCHEMA, {"type": "object"}, "name", "what it is"),
            verbosity="low",
            service_tier="scale",
            user="u",
            metadata={"a": "b"},
            store=True,
            previous_id="p",
            cache_key="k",
            cache=CacheMark(),
            extras={Dialect.OPENAI_CHAT: {"odd": 1}},
        )
    )
    assert set(losses.header().split(", ")) == {
        "other", "cache_control", "file_reference", "speaker_name", "refusal", "tool_arguments", "system_position",
        "tool_strict", "parallel_tool_calls", "logit_bias", "verbosity", "service_tier", "user", "metadata", "store",
        "previous_response_id", "cache_key",
    }  # fmt: skip
    assert body["systemInstruction"] == {"parts": [{"text": "one"}, {"text": "two"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}]},
        {
            "role": "model",
            "parts": [{"text": "no"}, {"functionCall": {"id": "c", "name": "f", "args": {"input": "[1]"}}}],
        },
        {"role": "user", "parts": [{"functionResponse": {"id": "c", "name": "f", "response": {"error": "r"}}}]},
        {"role": "user", "parts": [{"text": "late"}]},
    ]
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == {
        "enum": ["c"], "type": "string", "not": {},
    }  # fmt: skip
    assert body["generationConfig"] == {
        "stopSequences": ["x"],
        "candidateCount": 2,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object", "description": "what it is"},
    }


def test_a_system_turn_alone_is_what_the_model_hears() -> None:
    body, losses = write(Request("m", (Turn(Role.SYSTEM, (Text("be"),)),)))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "be"}]}]}
    assert losses.header() == "system_position"


def test_code_of_another_vendor() -> None:
    kind = ServerToolKind.CODE_EXECUTION
    turn = Turn(
        Role.ASSISTANT,
        (
            ServerToolCall("s", kind, "code_execution", '{"code":"1+1"}'),
            ServerToolResult("s", kind, (Text("2"),)),
            ServerToolCall("w", ServerToolKind.WEB_SEARCH, "web_search"),
        ),
    )
    body, losses = write(Request("m", (turn,)))
    assert body["contents"][0]["parts"] == [
        {"executableCode": {"language": "PYTHON", "code": "1+1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
    ]
    assert losses.header() == "server_tool"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", None),
        (b"{}", "contents"),
        (b'{"contents":"x"}', "contents"),
        (b'{"contents":[1]}', "contents[0]"),
        (b'{"contents":[{"role":"king"}]}', "contents[0].role"),
        (b'{"contents":[{"parts":[5]}]}', "contents[0].parts[0]"),
        (request({"text": 5}), "contents[0].parts[0].text"),
        (request({"functionCall": {"args": {}}}), "contents[0].parts[0].functionCall.name"),
        (request({"functionCall": {"name": "f", "args": "x"}}), "contents[0].parts[0].functionCall.args"),
        (request({"functionResponse": {"name": "f", "response": 1}}), "contents[0].parts[0].functionResponse.response"),
        (request({"fileData": {}}), "contents[0].parts[0].fileData.fileUri"),
        (request(generationConfig={"temperature": "hot"}), "generationConfig.temperature"),
        (request(generationConfig={"maxOutputTokens": 1.5}), "generationConfig.maxOutputTokens"),
        (request(generationConfig={"stopSequences": [1]}), "generationConfig.stopSequences"),
        (request(generationConfig={"thinkingConfig": 1}), "generationConfig.thinkingConfig"),
        (request(tools=[{"functionDeclarations": [{}]}]), "tools[0].functionDeclarations[0].name"),
        (request(toolConfig={"functionCallingConfig": {"mode": "PERHAPS"}}), "toolConfig.functionCallingConfig.mode"),
    ],
)
def test_refusals_name_the_field(body: bytes, field: str | None) -> None:
    with pytest.raises(JsonProblem) as problem:
        PROTOCOL.decode_request(body, model="m")
    assert problem.value.field == field


# --- any conversation ---

SIGNATURES = st.none() | st.builds(Signature, st.just(OWN), st.text("ABC+/-_", min_size=1, max_size=9))
OBJECTS = st.dictionaries(
    st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.text(max_size=3), max_size=2
)
ARGUMENTS = OBJECTS.map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False))
BYTES = st.binary(max_size=6).map(lambda raw: b64encode(raw).decode())
MEDIA = st.builds(Image, st.builds(Inline, BYTES, st.sampled_from(["image/png", "image/jpeg"]))) | st.builds(
    File, st.builds(Url, st.just("https://x/y"), st.sampled_from(["application/pdf", "video/mp4"]))
)
SAID = st.builds(Text, st.text(min_size=1), signature=SIGNATURES)
CALLS = st.builds(ToolCall, st.text("ab", min_size=1), st.text("fg", min_size=1), ARGUMENTS, signature=SIGNATURES)
MODEL_PARTS = SAID | st.builds(Thinking, st.text(min_size=1), SIGNATURES) | CALLS | MEDIA
RESULTS = st.builds(
    ToolResult, st.text("ab", min_size=1), st.tuples(st.builds(Text, st.text())) | st.tuples(st.builds(Text, st.text()), MEDIA),
    st.text("fg", min_size=1),
)  # fmt: skip
TURNS = st.lists(
    st.one_of(
        st.builds(Turn, st.just(Role.USER), st.lists(SAID | MEDIA, min_size=1, max_size=3).map(tuple)),
        st.builds(Turn, st.just(Role.ASSISTANT), st.lists(MODEL_PARTS, min_size=1, max_size=4).map(tuple)),
        st.builds(Turn, st.just(Role.USER), st.lists(RESULTS, min_size=1, max_size=1).map(tuple)),
    ),
    min_size=1,
    max_size=5,
)


def joined(turns: tuple[Turn, ...]) -> list[tuple[Role, list[Part]]]:
    """Results in neighbouring turns are one round."""
    out: list[tuple[Role, list[Part]]] = []
    for turn in turns:
        results = isinstance(turn.parts[0], ToolResult)
        if results and out and isinstance(out[-1][1][0], ToolResult):
            out[-1][1].extend(turn.parts)
        else:
            out.append((turn.role, list(turn.parts)))
    return out


@settings(max_examples=200, deadline=None)
@given(TURNS)
def test_any_conversation_survives(turns: list[Turn]) -> None:
    asked = Request("m", tuple(turns))
    body, losses = write(asked)
    assert not losses
    back = PROTOCOL.decode_request(json.dumps(body).encode(), model="m")
    assert joined(back.turns) == joined(asked.turns)
    assert write(back)[0] == body
