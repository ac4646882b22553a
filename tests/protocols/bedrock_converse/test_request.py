"""Converse requests: what is written, in the shapes of AWS's published API, and what is named as lost."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

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
    ToolChoice,
    ToolMode,
    Turn,
)
from gproxy.protocols.bedrock_converse.families import family_of
from gproxy.protocols.bedrock_converse.request import encode

OWN = Dialect.BEDROCK_CONVERSE
NOVA, CLAUDE, LLAMA = "us.amazon.nova-2-lite-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0", "meta.llama3-3-70b"
PNG = "iVBORw0KGgo="
ADD = FunctionTool("add", "adds", {"properties": {"a": {"type": "integer"}}})


def user(*parts: Part) -> Turn:
    return Turn(Role.USER, parts)


def assistant(*parts: Part) -> Turn:
    return Turn(Role.ASSISTANT, parts)


def written(request: Request) -> tuple[dict[str, Any], list[str]]:
    losses = Losses()
    body = json.loads(encode(request, losses))
    return body, [loss.feature.value for loss in losses.found]


def asked(*turns: Turn, model: str = CLAUDE, **more: Any) -> Request:
    return Request(model, turns or (user(Text("hello")),), **more)


def content(*parts: Part, model: str = CLAUDE) -> tuple[list[dict[str, Any]], list[str]]:
    body, lost = written(asked(user(*parts), model=model))
    return (body["messages"][0]["content"] if body["messages"] else []), lost


def test_the_smallest() -> None:
    # The model and the wish to stream stand in the path.
    assert written(asked(stream=True)) == ({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}, [])


def test_instructions_come_first_or_are_moved() -> None:
    turns = (
        Turn(Role.SYSTEM, (Text("be"),)),
        Turn(Role.DEVELOPER, (Text("kind"),)),
        user(Text("hello")),
        Turn(Role.SYSTEM, (Text("now"),)),
    )
    body, lost = written(asked(*turns))
    assert body["system"] == [{"text": "be"}, {"text": "kind"}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "hello"}, {"text": "now"}]}]
    assert lost == ["system_position"]


def test_instructions_alone_are_said_by_the_user() -> None:
    body, lost = written(asked(Turn(Role.SYSTEM, (Text("be"),))))
    assert (body, lost) == ({"messages": [{"role": "user", "content": [{"text": "be"}]}]}, ["system_position"])


def test_speakers_alternate_and_blank_texts_are_left_out() -> None:
    body, lost = written(asked(user(Text("a")), user(Text(" ")), assistant(Text("")), user(Text("b"))))
    assert body["messages"] == [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]
    assert not lost


def test_results_come_first_in_their_turn() -> None:
    turns = (
        assistant(ToolCall("one", "add", '{"a":1}'), ToolCall("two", "add", "")),
        user(ToolResult("one", (Text("2"),), cache=CacheMark())),
        user(Text("and"), ToolResult("two", (Text("no"),), is_error=True)),
    )
    body, lost = written(asked(*turns, tools=(ADD,)))
    assert [next(iter(item)) for item in body["messages"][1]["content"]] == [
        "toolResult",
        "cachePoint",
        "toolResult",
        "text",
    ]
    assert body["messages"][0]["content"][0] == {"toolUse": {"toolUseId": "one", "name": "add", "input": {"a": 1}}}
    assert body["messages"][0]["content"][1]["toolUse"]["input"] == {}
    assert body["messages"][1]["content"][2] == {
        "toolResult": {"toolUseId": "two", "content": [{"text": "no"}], "status": "error"}
    }
    assert not lost


def test_ids_fit_and_stay_different() -> None:
    long = "call|" + "x" * 80
    turns = (
        assistant(ToolCall(long, "add", "{}"), ToolCall("call_" + "x" * 80, "add", "{}")),
        user(ToolResult(long, ()), ToolResult("call_" + "x" * 80, ())),
    )
    body, _ = written(asked(*turns, tools=(ADD,)))
    called = [item["toolUse"]["toolUseId"] for item in body["messages"][0]["content"]]
    answered = [item["toolResult"]["toolUseId"] for item in body["messages"][1]["content"]]
    assert called == answered
    assert len(set(called)) == 2
    assert all(re.fullmatch(r"[a-zA-Z0-9_.:-]{1,64}", one) for one in called)


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        (Image(Inline(PNG, "image/png")), {"image": {"format": "png", "source": {"bytes": PNG}}}),
        (Image(Inline(PNG, "image/jpg")), {"image": {"format": "jpeg", "source": {"bytes": PNG}}}),
        (File(Inline(PNG, "image/webp")), {"image": {"format": "webp", "source": {"bytes": PNG}}}),
        (
            Image(Url("s3://bucket/a.PNG")),
            {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.PNG"}}}},
        ),
        (File(Inline(PNG, "video/3gpp")), {"video": {"format": "three_gp", "source": {"bytes": PNG}}}),
        (File(Inline(PNG, "audio/mpeg")), {"audio": {"format": "mp3", "source": {"bytes": PNG}}}),
        (Audio(Inline(PNG, "audio/wav"), "wav"), {"audio": {"format": "wav", "source": {"bytes": PNG}}}),
        (Audio(Inline(PNG, ""), "pcm16"), {"audio": {"format": "pcm", "source": {"bytes": PNG}}}),
        (Opaque(OWN, "guardContent", {"guardContent": {"text": {"text": "x"}}}), {"guardContent": {"text": {"text": "x"}}}),
    ],
)  # fmt: skip
def test_bytes(part: Part, wanted: dict[str, Any]) -> None:
    assert content(part) == ([wanted], [])


def test_documents_have_names_that_are_accepted_and_a_text_beside_them() -> None:
    sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    found, lost = content(
        File(Inline(PNG, "application/pdf"), name="Report: 2026_final.pdf", context="look", cite=True),
        File(Inline(PNG, "application/pdf"), name="Report: 2026_final.pdf"),
        File(Inline(PNG, "application/json")),
        File(Inline(PNG, sheet)),
    )
    documents = [item["document"] for item in found[:-1]]
    assert [one["format"] for one in documents] == ["pdf", "pdf", "txt", "xlsx"]
    assert [one["name"] for one in documents] == [
        "Report 2026 final",
        "Report 2026 final-2",
        "document",
        "document-2",
    ]
    assert (documents[0]["context"], documents[0]["citations"]) == ("look", {"enabled": True})
    assert found[-1] == {"text": "Report 2026 final, Report 2026 final-2, document, document-2"}
    assert not lost
    spoken, _ = content(Text("read"), File(Inline(PNG, "application/pdf")))
    assert [next(iter(item)) for item in spoken] == ["text", "document"]


@pytest.mark.parametrize(
    ("part", "lost", "kept"),
    [
        (Image(Url("https://example.org/a.png")), "image", []),
        (Image(Inline(PNG, "image/tiff")), "image", []),
        (Image(FileRef("file-1")), "file_reference", []),
        (File(FileRef("file-1")), "file_reference", []),
        (File(Url("https://example.org/a.pdf", "application/pdf")), "file", []),
        (File(Inline(PNG, "application/zip")), "file", []),
        (File(Inline(PNG, "video/ogg")), "video", []),
        (Audio(Inline(PNG, ""), None), "audio", []),
        (Audio(Inline(PNG, "audio/wav"), "wav", transcript="hi"), "audio", [{"text": "hi"}]),
        (Refusal("no"), "refusal", [{"text": "no"}]),
        (Thinking("hm"), "thinking", []),
        (Thinking("hm", Signature(Dialect.GEMINI, "x")), "thinking", []),
        (RedactedThinking(Signature(Dialect.ANTHROPIC_MESSAGES, "x")), "redacted_thinking", []),
        (ServerToolCall("s", ServerToolKind.WEB_SEARCH, "web_search"), "server_tool", []),
        (Opaque(Dialect.GEMINI, "x", {"x": 1}), "other", []),
        (Text("a", (Citation(CitationKind.URL, url="https://example.org"),)), "citations", [{"text": "a"}]),
        (Text("a", signature=Signature(Dialect.GEMINI, "x")), "signature", [{"text": "a"}]),
        (Image(Inline(PNG, "image/png"), detail="high"), "image_detail", [{"image": {"format": "png", "source": {"bytes": PNG}}}]),
    ],
)  # fmt: skip
def test_what_has_no_home_is_named(part: Part, lost: str, kept: list[dict[str, Any]]) -> None:
    assert content(part) == (kept, [lost])


def test_thinking_of_its_own_goes_back() -> None:
    found, lost = content(Thinking("hm", Signature(OWN, "proof")), RedactedThinking(Signature(OWN, "c2VjcmV0")))
    assert found == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "proof"}}},
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
    ]
    assert not lost


def test_odd_arguments_are_wrapped() -> None:
    turns = (
        assistant(ToolCall("a", "run", "[1]"), ToolCall("b", "run", "ls", custom=True), ToolCall("c", "run", "{")),
    )
    body, lost = written(asked(*turns))
    inputs = [item["toolUse"]["input"] for item in body["messages"][0]["content"]]
    assert inputs == [{"input": [1]}, {"input": "ls"}, {"input": "{"}]
    assert lost == ["tool_arguments", "custom_tool"]


# --- cache points ---


def test_cache_points_stand_behind_what_they_mark() -> None:
    turns = (Turn(Role.SYSTEM, (Text("be", cache=CacheMark("1h")),)), user(Text("a", cache=CacheMark("5m")), Text("b")))
    body, lost = written(
        asked(*turns, tools=(replace(ADD, cache=CacheMark()), FunctionTool("other")), cache=CacheMark())
    )
    point = {"cachePoint": {"type": "default"}}
    assert body["system"] == [{"text": "be"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert body["messages"][0]["content"] == [{"text": "a"}, point, {"text": "b"}, point]
    assert [next(iter(tool)) for tool in body["toolConfig"]["tools"]] == ["toolSpec", "cachePoint", "toolSpec"]
    assert not lost


@pytest.mark.parametrize(
    ("model", "system", "tools"),
    [
        (LLAMA, False, False),
        (NOVA, True, False),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", True, True),
    ],
)
def test_cache_points_go_to_models_that_have_them(model: str, system: bool, tools: bool) -> None:
    turns = (Turn(Role.SYSTEM, (Text("be", cache=CacheMark()),)), user(Text("a")))
    body, lost = written(asked(*turns, model=model, tools=(replace(ADD, cache=CacheMark()),)))
    assert (len(body["system"]) == 2) is system
    assert (len(body["toolConfig"]["tools"]) == 2) is tools
    assert lost == ([] if tools else ["cache_control"])


# --- tools ---


def test_tools_and_the_choice_among_them() -> None:
    strict = replace(ADD, strict=True)
    body, lost = written(asked(tools=(strict,), tool_choice=ToolChoice(ToolMode.REQUIRED, ("add",))))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    spec = {"name": "add", "description": "adds", "inputSchema": {"json": schema}, "strict": True}
    assert body["toolConfig"] == {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": "add"}}}
    assert not lost
    assert written(asked(tools=(ADD,), tool_choice=ToolChoice(ToolMode.REQUIRED)))[0]["toolConfig"]["toolChoice"] == {
        "any": {}
    }
    assert "toolChoice" not in written(asked(tools=(ADD,), tool_choice=ToolChoice(ToolMode.AUTO)))[0]["toolConfig"]


def test_no_calls_means_no_tools() -> None:
    assert "toolConfig" not in written(asked(tools=(ADD,), tool_choice=ToolChoice(ToolMode.NONE)))[0]


def test_a_history_of_calls_keeps_its_tools() -> None:
    turns = (assistant(ToolCall("one", "old", "{}")), user(ToolResult("one", (Text("2"),))))
    body, lost = written(asked(*turns))
    assert body["toolConfig"] == {"tools": [{"toolSpec": {"name": "old", "inputSchema": {"json": {"type": "object"}}}}]}
    assert not lost
    body, lost = written(asked(*turns, tools=(ADD,), tool_choice=ToolChoice(ToolMode.NONE)))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["add", "old"]
    assert lost == ["tool_choice"]


def test_tools_that_have_no_home() -> None:
    tools = (CustomTool("run", "runs"), ServerTool(ServerToolKind.WEB_SEARCH))
    body, lost = written(asked(tools=tools, parallel_tool_calls=False))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["run"]
    assert lost == ["custom_tool", "server_tool", "parallel_tool_calls"]


# --- settings ---


def test_sampling() -> None:
    sampling = Sampling(temperature=0.5, max_output_tokens=9, stop=("x", ""))
    body, lost = written(asked(sampling=sampling, model=LLAMA))
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "stopSequences": ["x"]}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert lost == ["stop"]


def test_sampling_that_has_no_home() -> None:
    sampling = Sampling(temperature=1.5, top_k=5, seed=7, n=2, presence_penalty=1, logprobs=True, logit_bias={"1": 2})
    body, lost = written(asked(sampling=sampling, model=LLAMA))
    assert body["inferenceConfig"] == {"temperature": 1}
    assert lost == ["temperature", "top_k", "seed", "penalties", "logprobs", "logit_bias", "n"]


@pytest.mark.parametrize(
    ("model", "more"),
    [
        (CLAUDE, {"top_k": 5}),
        ("eu.amazon.nova-pro-v1:0", {"inferenceConfig": {"topK": 5}}),
        ("mistral.mistral-large-2407-v1:0", {"top_k": 5}),
        ("cohere.command-r-v1:0", {"k": 5}),
    ],
)
def test_top_k_in_each_familys_words(model: str, more: dict[str, Any]) -> None:
    body, lost = written(asked(sampling=Sampling(top_k=5), model=model))
    assert (body["additionalModelRequestFields"], lost) == (more, [])


@pytest.mark.parametrize(
    ("model", "said", "cap", "more", "output", "lost"),
    [
        (CLAUDE, Reasoning(budget=2048), None, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, None, []),
        (CLAUDE, Reasoning(budget=8000), 4000, {"thinking": {"type": "enabled", "budget_tokens": 3999}}, None, ["reasoning"]),
        (CLAUDE, Reasoning(budget=8000), 500, None, None, ["reasoning"]),
        (CLAUDE, Reasoning(effort=Effort.LOW), None, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, None, []),
        (CLAUDE, Reasoning(enabled=False), None, {"thinking": {"type": "disabled"}}, None, []),
        ("anthropic.claude-opus-4-7", Reasoning(effort=Effort.XHIGH), None, {"thinking": {"type": "adaptive"}}, {"effort": "xhigh"}, []),
        ("anthropic.claude-opus-4-6-v1", Reasoning(budget=2048), None, {"thinking": {"type": "adaptive"}}, {"effort": "low"}, ["reasoning"]),
        (NOVA, Reasoning(effort=Effort.LOW), 9, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, None, []),
        (NOVA, Reasoning(effort=Effort.HIGH), None, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}, None, []),
        (NOVA, Reasoning(effort=Effort.HIGH), 9, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, None, ["reasoning"]),
        (NOVA, Reasoning(effort=Effort.NONE), None, {"reasoningConfig": {"type": "disabled"}}, None, []),
        (LLAMA, Reasoning(effort=Effort.LOW), None, None, None, ["reasoning"]),
        (LLAMA, Reasoning(show="auto"), None, None, None, ["reasoning"]),
        (LLAMA, Reasoning(), None, None, None, []),
    ],
)  # fmt: skip
def test_thinking_in_each_familys_words(
    model: str, said: Reasoning, cap: int | None, more: Any, output: Any, lost: list[str]
) -> None:
    body, found = written(asked(model=model, reasoning=said, sampling=Sampling(max_output_tokens=cap)))
    assert body.get("additionalModelRequestFields") == more
    assert body.get("outputConfig") == output
    assert found == lost


def test_who_thinks_hard_leaves_no_choice() -> None:
    hot = Sampling(temperature=0.5, top_p=0.5)
    body, lost = written(asked(model=NOVA, reasoning=Reasoning(effort=Effort.HIGH), sampling=hot))
    assert "inferenceConfig" not in body
    assert lost == ["temperature", "top_p"]
    forced = ToolChoice(ToolMode.REQUIRED)
    body, lost = written(asked(reasoning=Reasoning(budget=2048), tools=(ADD,), tool_choice=forced))
    assert "additionalModelRequestFields" not in body
    assert lost == ["reasoning"]


def test_the_form_of_the_answer() -> None:
    form = OutputFormat(OutputKind.SCHEMA, {"type": "object", "properties": {"a": {"type": "integer"}}}, name="one")
    body, lost = written(asked(output=form))
    definition = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert definition["name"] == "one"
    assert json.loads(definition["schema"])["additionalProperties"] is False
    assert not lost
    assert written(asked(output=OutputFormat(OutputKind.JSON)))[1] == ["output_format"]


def test_tiers_and_labels() -> None:
    body, lost = written(asked(service_tier="flex", metadata={"team": "a/b", "odd": "ü", "n": 1}))
    assert body["serviceTier"] == {"type": "flex"}
    assert body["requestMetadata"] == {"team": "a/b"}
    assert lost == ["metadata"]
    assert written(asked(service_tier="scale"))[1] == ["service_tier"]
    many = {f"k{n}": "v" for n in range(20)}
    assert len(written(asked(metadata=many))[0]["requestMetadata"]) == 16


def test_what_else_has_no_home() -> None:
    request = asked(
        user="u", store=True, cache_key="k", verbosity="low", modalities=("text", "audio"),
        extras={Dialect.GEMINI: {"safetySettings": []}},
    )  # fmt: skip
    assert written(request)[1] == ["other", "user", "store", "cache_key", "verbosity", "modalities"]


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-lite-v1:0", NOVA),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
            CLAUDE,
        ),
        ("global.anthropic.claude-opus-4-5", CLAUDE),
        ("deepseek.v3-v1:0", LLAMA),
    ],
)
def test_families_are_told_by_ids(model: str, known: str) -> None:
    assert family_of(model) == family_of(known)
