"""Messages requests: what is read, what is written, and that every recorded one comes back meaning the same."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
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
    FunctionTool,
    OpaqueTool,
    OutputFormat,
    OutputKind,
    Request,
    Role,
    Sampling,
    ServerTool,
    ToolChoice,
    ToolMode,
    Turn,
)
from gproxy.protocols.anthropic_messages.dialogue import PROTOCOL
from gproxy.protocols.anthropic_messages.settings import DEFAULT_MAX_TOKENS
from gproxy.protocols.freeform import as_function
from gproxy.wire.json import JsonProblem
from tests.protocols.anthropic_messages.meaning import plain
from tests.protocols.recorded import exchanges

OWN = Dialect.ANTHROPIC_MESSAGES
HI = Turn(Role.USER, (Text("hi"),))


def again(body: bytes, model: str | None = None) -> tuple[Any, Losses]:
    losses = Losses()
    return json.loads(PROTOCOL.encode_request(PROTOCOL.decode_request(body, model=model), losses)), losses


def test_every_recorded_request_comes_back_meaning_the_same() -> None:
    seen = 0
    for case in exchanges("anthropic-messages"):
        if case.request is None:
            continue
        source = json.loads(case.request)
        source.setdefault("model", "said-in-the-path")  # as clouds that resell the dialect have it
        try:
            written, losses = again(case.request, source["model"])
        except JsonProblem:
            assert case.status == 400, case.name
            continue
        seen += 1
        assert not losses, (case.name, losses.header())
        assert plain(written) == plain(source), case.name
    assert seen > 200


def request(**fields: Any) -> bytes:
    return json.dumps(
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    ).encode()


def said(*content: dict[str, Any], role: str = "user") -> tuple[Part, ...]:
    return PROTOCOL.decode_request(request(messages=[{"role": role, "content": list(content)}])).turns[0].parts


def foreign(*turns: Turn, **fields: Any) -> tuple[Any, set[str]]:
    """A request of another dialect, as it is written here, and its losses."""
    losses = Losses()
    body = json.loads(PROTOCOL.encode_request(Request(fields.pop("model", "m"), turns or (HI,), **fields), losses))
    return body, {loss.feature.value for loss in losses.found}


def test_nothing_is_defaulted() -> None:
    read = PROTOCOL.decode_request(request())
    assert read == Request("m", (HI,), sampling=Sampling(max_output_tokens=9), extras={OWN: {}})


def test_a_tool_loop() -> None:
    body = request(
        system=[{"type": "text", "text": "be", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        messages=[
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s+/="},
                    {"type": "redacted_thinking", "data": "d+/="},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "g", "input": {}, "caller": {"type": "direct"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "late"},
                    {"type": "tool_result", "tool_use_id": "c1", "content": "r1"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "r2"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
                        ],
                    },
                ],
            },
        ],
    )
    found = PROTOCOL.decode_request(body).turns
    assert [turn.role for turn in found] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]
    assert found[0].parts == (Text("be", cache=CacheMark("1h")),)
    assert found[2].parts == (
        Thinking("hm", Signature(OWN, "s+/=")),
        RedactedThinking(Signature(OWN, "d+/="), extras={}),
        ToolCall("c1", "f", '{"a":1}'),
        ToolCall("c2", "g", "{}", extras={OWN: {"caller": {"type": "direct"}}}),
    )
    assert found[3].parts == (
        ToolResult("c1", (Text("r1"),), "f"),
        ToolResult("c2", (Text("r2"), Image(Inline("QQ==", "image/png"))), "g", is_error=True),
        Text("late"),
    )
    written, losses = again(body)
    assert not losses
    assert written["messages"][1]["content"] == json.loads(body)["messages"][1]["content"]
    assert [item["type"] for item in written["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]


def test_media() -> None:
    words = base64.b64encode("wörds".encode()).decode()
    documents = (
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="},
            "title": "T",
            "context": "C",
            "citations": {"enabled": True},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "wörds"}},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_2"}},
    )
    assert said(*documents) == (
        Image(Url("https://x/y.png")),
        Image(FileRef("file_1")),
        File(Inline("QQ==", "application/pdf"), "T", "C", cite=True, cache=CacheMark()),
        File(Inline(words, "text/plain")),
        File(Url("https://x/y.pdf")),
        File(FileRef("file_2")),
    )
    written, losses = again(request(messages=[{"role": "user", "content": list(documents)}]))
    assert not losses
    assert written["messages"][0]["content"] == list(documents)


OWN_BLOCKS: list[dict[str, Any]] = [
    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}, "title": "T"},
    {"type": "document", "source": {"type": "content", "content": "a"}},
    {"type": "search_result", "source": "https://x", "title": "X", "content": [{"type": "text", "text": "found"}]},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"type": "web_search_result", "url": "https://x", "title": "X", "encrypted_content": "e+/="}],
    },
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
    },
    {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "ask", "server_name": "s", "input": {}},
    {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": [{"type": "text", "text": "a"}]},
    {"type": "compaction", "content": "so far"},
    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "scope": "global"}},
    {"type": "text", "text": "x", "future_field": [1, {"a": None}]},
    {"type": "tool_use", "id": "t", "name": "f", "input": {"deep": [1.5, {"x": "é"}]}, "toolset_name": "browser"},
    {"type": "thinking", "thinking": "", "signature": "omitted+/=="},
    {"type": "from_the_future", "anything": [1, 2]},
    {
        "type": "text",
        "text": "x",
        "citations": [
            {
                "type": "char_location",
                "cited_text": "q",
                "document_index": 0,
                "document_title": None,
                "start_char_index": 0,
                "end_char_index": 1,
            }
        ],
    },
]  # fmt: skip


@pytest.mark.parametrize("block", OWN_BLOCKS, ids=lambda block: str(block["type"]))
def test_blocks_of_this_dialect_go_home_unharmed(block: dict[str, Any]) -> None:
    for role in ("user", "assistant"):
        source = {
            "role": role,
            "content": [block, {"type": "text", "text": "y", "cache_control": {"type": "ephemeral"}}],
        }
        written, losses = again(request(messages=[source]))
        assert written["messages"] == [source]
        assert not losses


def test_what_others_can_read_of_such_blocks() -> None:
    parts = said(*OWN_BLOCKS[:10])
    assert isinstance(parts[0], File)
    assert parts[0].source == Inline(base64.b64encode(b"a").decode(), "text/plain")
    assert isinstance(parts[2], Text)
    assert parts[2].text == "X - https://x\nfound"
    assert isinstance(parts[3], Opaque)
    assert isinstance(parts[4], ServerToolCall)
    assert (parts[4].kind, parts[4].arguments) == (ServerToolKind.WEB_SEARCH, '{"query":"q"}')
    assert isinstance(parts[5], ServerToolResult)
    assert parts[5].citations == (Citation(CitationKind.URL, "https://x", "X"),)
    assert isinstance(parts[6], ServerToolResult)
    assert parts[6].is_error
    assert isinstance(parts[8], ServerToolResult)
    assert (parts[8].kind, parts[8].parts) == (ServerToolKind.MCP, (Text("a"),))


# --- what comes from elsewhere ---


def test_instructions_stand_in_front_or_become_the_users_words() -> None:
    body, lost = foreign(
        Turn(Role.SYSTEM, (Text("a"),)),
        Turn(Role.DEVELOPER, (Text("b"),)),
        Turn(Role.USER, (Text("c"),), name="bob"),
        Turn(Role.SYSTEM, (Text("d"),)),
        Turn(Role.ASSISTANT, (Text("e"), Text(""))),
        Turn(Role.ASSISTANT, (Text("f"),)),
        Turn(Role.USER, (Text(""),)),
    )
    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "e"}, {"type": "text", "text": "f"}]},
    ]
    assert lost == {"system_position", "speaker_name"}
    body, lost = foreign(Turn(Role.SYSTEM, (Text("only"),)))
    assert (body["messages"], "system" in body) == ([{"role": "user", "content": "only"}], False)
    assert lost == {"system_position"}


def test_results_come_first_in_their_turn() -> None:
    body, lost = foreign(
        HI,
        Turn(Role.ASSISTANT, (ToolCall("functions.f:0", "f", "[1]"), ToolCall("functions_f_0", "g", "not json"))),
        Turn(Role.USER, (ToolResult("functions.f:0", (Text("r"),)),)),
        Turn(Role.USER, (Text("and"),)),
        Turn(Role.USER, (ToolResult("functions_f_0", (Text(""),)),)),
    )
    calls, results = body["messages"][1]["content"], body["messages"][2]["content"]
    assert [call["input"] for call in calls] == [{"input": [1]}, {"input": "not json"}]
    assert [item["type"] for item in results] == ["tool_result", "tool_result", "text"]
    assert [call["id"] for call in calls] == [item["tool_use_id"] for item in results[:2]]
    assert len({call["id"] for call in calls}) == 2
    assert all(set(call["id"]) <= set("functionsf_02") for call in calls)
    assert results[1]["content"] == ""
    assert lost == {"tool_arguments"}


def test_a_foreign_request_says_what_it_lost() -> None:
    alien = Signature(Dialect.GEMINI, "sig")
    body, lost = foreign(
        Turn(
            Role.USER,
            (
                Text("a", cache=CacheMark("1h")),
                Image(Inline("QQ==", "image/jpg"), "high"),
                Image(FileRef("f")),
                File(Inline(base64.b64encode(b"x: 1").decode(), "application/yaml"), "a.yaml"),
                File(Inline("QQ==", "video/mp4")),
                File(Url("https://x/y.docx", "application/msword")),
                File(Inline("QQ==", "image/webp")),
                Audio(Inline("QQ==", "audio/wav"), transcript="spoken"),
                Opaque(Dialect.GEMINI, "x", {}),
            ),
        ),
        Turn(
            Role.ASSISTANT,
            (
                Thinking("t", alien),
                Thinking("u"),
                RedactedThinking(alien),
                Refusal("no"),
                Text("b", (Citation(CitationKind.URL, "https://x"),), alien),
                ServerToolCall("s", ServerToolKind.WEB_SEARCH, "search"),
                ServerToolResult("s", ServerToolKind.WEB_SEARCH),
                ToolCall("c", "f", "{}", signature=alien),
                ToolCall("d", "g", "free", custom=True),
            ),
        ),
        tools=(
            FunctionTool("f"),
            CustomTool("g", "free text", {"type": "grammar"}),
            ServerTool(ServerToolKind.WEB_SEARCH, location={"city": "Ulm"}, allowed_domains=("x.y",), effort="high"),
            ServerTool(ServerToolKind.IMAGE_GENERATION),
            OpaqueTool(Dialect.GEMINI, "x", {}),
        ),
        tool_choice=ToolChoice(ToolMode.AUTO, ("f",)),
        parallel_tool_calls=False,
        sampling=Sampling(
            temperature=1.7,
            top_p=0.5,
            top_k=5,
            stop=("\n", "x"),
            seed=1,
            n=2,
            presence_penalty=1,
            logprobs=True,
            logit_bias={"1": 1},
        ),
        output=OutputFormat(OutputKind.JSON),
        verbosity="low",
        modalities=("text", "audio"),
        service_tier="flex",
        user="u",
        metadata={"a": "b"},
        store=True,
        previous_id="r",
        cache_key="k",
        extras={Dialect.GEMINI: {"safetySettings": []}},
    )
    assert lost == {
        "image_detail", "file_reference", "video", "file", "audio", "other", "thinking", "redacted_thinking",
        "refusal", "citations", "signature", "server_tool", "custom_tool", "tool_grammar", "tool_choice", "temperature", "top_p",
        "stop", "seed", "n", "penalties", "logprobs", "logit_bias", "output_format", "verbosity", "modalities",
        "service_tier", "metadata", "store", "previous_response_id", "cache_key",
    }  # fmt: skip
    user, assistant = body["messages"]
    assert user["content"] == [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "QQ=="}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x: 1"}, "title": "a.yaml"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "QQ=="}},
        {"type": "text", "text": "spoken"},
    ]
    assert assistant["content"] == [
        {"type": "text", "text": "no"},
        {"type": "text", "text": "b"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
        {"type": "tool_use", "id": "d", "name": "g", "input": {"input": "free"}},
    ]
    assert body["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "g",
            "input_schema": as_function(CustomTool("g"), Losses(), "").schema,
            "description": "free text",
        },
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "allowed_domains": ["x.y"],
            "user_location": {"type": "approximate", "city": "Ulm"},
        },
    ]
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert (body["max_tokens"], body["temperature"], body["top_k"]) == (DEFAULT_MAX_TOKENS, 1, 5)
    assert (body["stop_sequences"], body["metadata"]) == (["x"], {"user_id": "u"})
    assert not {"top_p", "output_config", "service_tier"} & body.keys()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", None),
        (b'{"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":"x"}', "messages"),
        (b'{"model":"m","messages":[1]}', "messages[0]"),
        (request(messages=[{"content": "x"}]), "messages[0].role"),
        (request(messages=[{"role": "king", "content": "x"}]), "messages[0].role"),
        (request(messages=[{"role": "user", "content": 5}]), "messages[0].content"),
        (request(messages=[{"role": "user", "content": [5]}]), "messages[0].content[0]"),
        (request(messages=[{"role": "user", "content": [{"type": "text", "text": 1}]}]), "messages[0].content[0].text"),
        (
            request(messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]),
            "messages[0].content[0].source.url",
        ),
        (
            request(messages=[{"role": "user", "content": [{"type": "tool_result"}]}]),
            "messages[0].content[0].tool_use_id",
        ),
        (
            request(
                messages=[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [1]}]}]
            ),
            "messages[0].content[0].content[0]",
        ),
        (
            request(messages=[{"role": "assistant", "content": [{"type": "tool_use", "id": "x"}]}]),
            "messages[0].content[0].name",
        ),
        (request(system=5), "system"),
        (request(temperature="hot"), "temperature"),
        (request(max_tokens=1.5), "max_tokens"),
        (request(stop_sequences=[1]), "stop_sequences"),
        (request(tools=[{}]), "tools[0].name"),
        (request(tools=[{"name": "f", "input_schema": True}]), "tools[0].input_schema"),
        (request(tool_choice="auto"), "tool_choice"),
        (request(tool_choice={"type": "perhaps"}), "tool_choice.type"),
        (request(thinking=True), "thinking"),
        (request(output_config={"format": 1}), "output_config.format"),
        (request(metadata={"user_id": 1}), "metadata.user_id"),
    ],
)
def test_refusals_name_the_field(body: bytes, field: str | None) -> None:
    with pytest.raises(JsonProblem) as problem:
        PROTOCOL.decode_request(body)
    assert problem.value.field == field


# --- any request of this dialect's means ---

WORDS = st.text(min_size=1, max_size=8)
IDS = st.text("abcXYZ019_-", min_size=1, max_size=6)
CACHES = st.sampled_from([None, CacheMark(), CacheMark("1h")])
PNG = Inline("QQ==", "image/png")
PLAIN = st.one_of(
    st.builds(Text, WORDS, cache=CACHES),
    st.builds(Image, st.sampled_from([PNG, Url("https://x/y"), FileRef("f")]), cache=CACHES),
    st.builds(
        File,
        st.sampled_from([Inline("QQ==", "application/pdf"), Url("https://x/y"), FileRef("f")]),
        st.none() | WORDS,
        st.none() | WORDS,
        st.sampled_from([None, True, False]),
        CACHES,
    ),
    st.builds(File, WORDS.map(lambda said: Inline(base64.b64encode(said.encode()).decode(), "text/plain"))),
)
RESULTS = st.builds(
    ToolResult,
    IDS,
    st.lists(PLAIN, min_size=1, max_size=3).map(tuple),
    is_error=st.sampled_from([None, True, False]),
    cache=CACHES,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | WORDS, lambda inner: st.lists(inner, max_size=3)
)
CALLS = st.builds(
    ToolCall,
    IDS,
    IDS,
    st.dictionaries(WORDS, VALUES, max_size=3).map(lambda v: json.dumps(v, ensure_ascii=False, separators=(",", ":"))),
    cache=CACHES,
)
SPOKEN = st.one_of(
    st.builds(Text, WORDS, cache=CACHES),
    st.builds(Thinking, st.text(max_size=8), st.builds(Signature, st.just(OWN), st.text("aB+/=", min_size=1))),
    st.builds(RedactedThinking, st.builds(Signature, st.just(OWN), st.text("aB+/=", min_size=1)), extras=st.just({})),
    CALLS,
)
USERS = st.builds(
    lambda results, others: Turn(Role.USER, (*results, *others), extras={}),
    st.lists(RESULTS, max_size=2),
    st.lists(PLAIN, min_size=1, max_size=3),
)
ASSISTANTS = st.builds(lambda parts: Turn(Role.ASSISTANT, tuple(parts), extras={}), st.lists(SPOKEN, min_size=1))
TALKS = st.lists(st.tuples(USERS, ASSISTANTS), max_size=3).map(lambda pairs: [turn for pair in pairs for turn in pair])


@settings(max_examples=150, deadline=None)
@given(
    st.builds(
        lambda head, talk, last, sampling, choice, parallel: Request(
            "m",
            (*head, *talk, last),
            tools=(FunctionTool("f", "d", {"type": "object"}, strict=True),),
            tool_choice=choice,
            parallel_tool_calls=parallel if choice is not None else None,
            sampling=sampling,
            extras={OWN: {}},
        ),
        st.lists(st.builds(lambda said: Turn(Role.SYSTEM, (Text(said),)), WORDS), max_size=1),
        TALKS,
        USERS,
        st.builds(
            Sampling,
            temperature=st.sampled_from([None, 0, 0.5]),
            top_p=st.sampled_from([None, 0.9]),
            top_k=st.sampled_from([None, 5]),
            max_output_tokens=st.integers(1, 9000),
            stop=st.sampled_from([None, (), ("a", "b")]),
        ),
        st.sampled_from([None, ToolChoice(ToolMode.AUTO), ToolChoice(ToolMode.REQUIRED, ("f",))]),
        st.sampled_from([None, True, False]),
    )
)
def test_any_request_survives_being_written(asked: Request) -> None:
    losses = Losses()
    back = PROTOCOL.decode_request(PROTOCOL.encode_request(asked, losses))
    assert not losses
    assert nameless(back) == asked


def nameless(request: Request) -> Request:
    """Results learn the name of their tool from the call; the strategy does not say it."""

    def without(part: Part) -> Part:
        return replace(part, name=None) if isinstance(part, ToolResult) else part

    return replace(
        request, turns=tuple(replace(turn, parts=tuple(without(part) for part in turn.parts)) for turn in request.turns)
    )
