"""docs/translation.md: what each dialect can say in each other one, asked of the translator itself.

Every row is a small request with one thing in it. What the translator notes as lost is what the page says.
"""

from __future__ import annotations

import copy
import json
from typing import Any, Final

from gproxy.canonical.operation import GENERATE_DIALECTS, VENDOR_DIALECTS, Dialect
from gproxy.canonical.request import Effort
from gproxy.channels.loader import catalog
from gproxy.protocols.anthropic_messages.settings import DEFAULT_MAX_TOKENS
from gproxy.protocols.effort import BUDGETS, effort_of
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names

CHAT, RESPONSES, MESSAGES, GEMINI, CONVERSE = VENDOR_DIALECTS
NAMES: Final = {
    CHAT: "OpenAI chat",
    RESPONSES: "OpenAI Responses",
    MESSAGES: "Anthropic Messages",
    GEMINI: "Gemini",
    CONVERSE: "Bedrock Converse",
}
MODELS: Final = {CONVERSE: "amazon.nova-2-lite-v1:0"}
"""What is asked for where the dialect's words depend on the model."""
PNG: Final = "iVBORw0KGgo="
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

BASES: Final[dict[Dialect, dict[str, Any]]] = {
    CHAT: {"messages": [{"role": "user", "content": "hello"}]},
    RESPONSES: {"input": [{"role": "user", "content": "hello"}]},
    MESSAGES: {"max_tokens": 4000, "messages": [{"role": "user", "content": "hello"}]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
}


def chat_said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def responses_said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(parts)}]}


def messages_said(*blocks: dict[str, Any], then: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}, *(then or [])]}


def gemini_said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


def configured(**config: Any) -> dict[str, Any]:
    return {"generationConfig": config}


FUNCTION: Final = {"name": "add", "description": "adds", "parameters": SCHEMA}
CALLED: Final = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
CHAT_LOOP: Final = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "tool_calls": [CALLED]},
    {"role": "tool", "tool_call_id": "call_1", "content": "2"},
]
MESSAGES_LOOP: Final = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}]},
]

PROBES: Final[dict[Dialect, dict[str, dict[str, Any]]]] = {
    CHAT: {
        "system message first": {"messages": [{"role": "system", "content": "be"}, *CHAT_LOOP[:1]]},
        "system message in the middle": {"messages": [*CHAT_LOOP[:1], {"role": "system", "content": "be"}]},
        "speaker's `name`": {"messages": [{"role": "user", "name": "ann", "content": "hello"}]},
        "image by URL": chat_said({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}),
        "image in base64": chat_said({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
        "image `detail`": chat_said(
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}}
        ),
        "PDF in base64": chat_said(
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}}
        ),
        "uploaded file id": chat_said({"type": "file", "file": {"file_id": "file-1"}}),
        "audio": chat_said({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}),
        "function tools": {"tools": [{"type": "function", "function": FUNCTION}]},
        "`strict` tools": {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
        "custom tools": {"tools": [{"type": "custom", "custom": {"name": "run"}}]},
        "tool calls and results": {"messages": CHAT_LOOP},
        "`tool_choice`: one tool": {
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": {"type": "function", "function": {"name": "add"}},
        },
        "`parallel_tool_calls`: false": {
            "tools": [{"type": "function", "function": FUNCTION}],
            "parallel_tool_calls": False,
        },
        "`response_format`: JSON": {"response_format": {"type": "json_object"}},
        "`response_format`: schema": {
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
        },
        "`reasoning_effort`": {"reasoning_effort": "medium"},
        "`verbosity`": {"verbosity": "low"},
        "`web_search_options`": {"web_search_options": {}},
        "spoken answer": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        "`temperature`, `top_p`, `stop`": {"temperature": 0.5, "top_p": 0.5, "stop": ["x"]},
        "`seed`": {"seed": 7},
        "`n`": {"n": 2},
        "penalties": {"presence_penalty": 0.5, "frequency_penalty": 0.5},
        "`logprobs`": {"logprobs": True, "top_logprobs": 2},
        "`logit_bias`": {"logit_bias": {"50256": -100}},
        "`service_tier`": {"service_tier": "flex"},
        "`user`": {"user": "u1"},
        "`metadata`": {"metadata": {"a": "b"}},
        "`store`": {"store": True},
        "`prompt_cache_key`": {"prompt_cache_key": "k"},
    },
    RESPONSES: {
        "`instructions`": {"instructions": "be"},
        "image by URL": responses_said({"type": "input_image", "image_url": "https://example.org/a.png"}),
        "PDF in base64": responses_said(
            {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}
        ),
        "uploaded file id": responses_said({"type": "input_file", "file_id": "file-1"}),
        "function tools": {"tools": [{"type": "function", **FUNCTION, "strict": False}]},
        "`strict` tools": {"tools": [{"type": "function", **FUNCTION, "strict": True}]},
        "custom tools": {"tools": [{"type": "custom", "name": "run"}]},
        "`web_search` tool": {"tools": [{"type": "web_search"}]},
        "`code_interpreter` tool": {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        "`file_search` tool": {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        "`text.format`: schema": {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
        "`text.verbosity`": {"text": {"verbosity": "low"}},
        "`reasoning.effort`": {"reasoning": {"effort": "medium"}},
        "`reasoning.summary`": {"reasoning": {"effort": "medium", "summary": "auto"}},
        "encrypted reasoning": {
            "input": [
                {"role": "user", "content": "hello"},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
                {"role": "user", "content": "more"},
            ]
        },
        "`temperature`, `top_p`": {"temperature": 0.5, "top_p": 0.5},
        "`top_logprobs`": {"top_logprobs": 2, "include": ["message.output_text.logprobs"]},
        "`service_tier`": {"service_tier": "flex"},
        "`metadata`": {"metadata": {"a": "b"}},
        "`store`": {"store": True},
        "`background`": {"background": True},
        "`prompt_cache_key`": {"prompt_cache_key": "k"},
    },
    MESSAGES: {
        "`system`": {"system": "be"},
        "`cache_control`": messages_said({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}),
        "image by URL": messages_said({"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}),
        "image in base64": messages_said(
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        ),
        "PDF in base64": messages_said(
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}}
        ),
        "document citations": messages_said(
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "a"},
                "citations": {"enabled": True},
            }
        ),
        "tools": {"tools": [{"name": "add", "input_schema": SCHEMA}]},
        "tool results": messages_said(
            {"type": "text", "text": "hello"},
            then=[
                *MESSAGES_LOOP,
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "2"}]},
            ],
        ),
        "tool results that are errors": messages_said(
            {"type": "text", "text": "hello"},
            then=[
                *MESSAGES_LOOP,
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "2", "is_error": True}],
                },
            ],
        ),
        "tool results with images": messages_said(
            {"type": "text", "text": "hello"},
            then=[
                *MESSAGES_LOOP,
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "toolu_1",
                            "content": [
                                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
                            ],
                        }
                    ],
                },
            ],
        ),
        "`tool_choice`: any": {
            "tools": [{"name": "add", "input_schema": SCHEMA}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        },
        "web search tool": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "code execution tool": {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
        "`thinking` with a budget": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        "signed thinking of earlier turns": messages_said(
            {"type": "text", "text": "hello"},
            then=[
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "abc"},
                        {"type": "text", "text": "hi"},
                    ],
                },
                {"role": "user", "content": "more"},
            ],
        ),
        "`output_config.format`": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        "`output_config.effort`": {"output_config": {"effort": "medium"}},
        "`temperature`, `top_p`, `stop_sequences`": {"temperature": 0.5, "top_p": 0.5, "stop_sequences": ["x"]},
        "`top_k`": {"top_k": 5},
        "`service_tier`": {"service_tier": "standard_only"},
        "`metadata.user_id`": {"metadata": {"user_id": "u1"}},
    },
    GEMINI: {
        "`systemInstruction`": {"systemInstruction": {"parts": [{"text": "be"}]}},
        "image": gemini_said({"inlineData": {"mimeType": "image/png", "data": PNG}}),
        "PDF": gemini_said({"inlineData": {"mimeType": "application/pdf", "data": PNG}}),
        "audio": gemini_said({"inlineData": {"mimeType": "audio/wav", "data": PNG}}),
        "video": gemini_said({"inlineData": {"mimeType": "video/mp4", "data": PNG}}),
        "file by URI": gemini_said(
            {"fileData": {"mimeType": "image/png", "fileUri": "https://example.org/a.png"}},
        ),
        "function declarations": {"tools": [{"functionDeclarations": [FUNCTION]}]},
        "`functionCallingConfig`: ANY": {
            "tools": [{"functionDeclarations": [FUNCTION]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["add"]}},
        },
        "`googleSearch` tool": {"tools": [{"googleSearch": {}}]},
        "`codeExecution` tool": {"tools": [{"codeExecution": {}}]},
        "`thinkingBudget`": configured(thinkingConfig={"thinkingBudget": 2048, "includeThoughts": True}),
        "`thinkingLevel`": configured(thinkingConfig={"thinkingLevel": "low"}),
        "JSON": configured(responseMimeType="application/json"),
        "JSON by schema": configured(responseMimeType="application/json", responseJsonSchema=SCHEMA),
        "`temperature`, `topP`, `stopSequences`": configured(temperature=0.5, topP=0.5, stopSequences=["x"]),
        "`topK`": configured(topK=5),
        "`seed`": configured(seed=7),
        "`candidateCount`": configured(candidateCount=2),
        "penalties": configured(presencePenalty=0.5, frequencyPenalty=0.5),
        "`responseLogprobs`": configured(responseLogprobs=True, logprobs=2),
        "image output": configured(responseModalities=["TEXT", "IMAGE"]),
        "`safetySettings`": {"safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}]},
        "`cachedContent`": {"cachedContent": "cachedContents/1"},
    },
}

KEEPERS: Final = [vendor.label for vendor in catalog().values() if vendor.keeps_responses]

HEAD: Final = f"""\
# Translation between dialects

<!-- Made by `make docs` from dev/translation.py, which asks the translator. Do not edit by hand. -->

Any client dialect reaches any provider, streamed or not. Where both speak the same dialect nothing is translated:
the bytes go through as they are. Elsewhere the request, the answer, the stream and errors are rewritten.

- **What is lost is told.** The header `x-gproxy-loss` lists features that found no home. A provider's setting
  `loss` decides: `"warn"` (the default) tells, `"forbid"` refuses such requests with 400 naming the field, `"allow"`
  says nothing.
- **Streams leave legal.** One start, blocks opened before their deltas and closed once, tool arguments that parse,
  usage, one end. A vendor's stream that cannot be made so ends with the dialect's own error event.
- **Streams without `[DONE]`.** Some vendors of chat completions never send it. An answer whose every choice has its
  `finish_reason` when the body ends properly is whole: its usage row says `complete`, clients of other dialects get
  their own end, and chat clients get the vendor's bytes, as always, without a `[DONE]` of ours. An answer that lacks
  one reason was cut: an error event follows and the row says `interrupted`.
- **Streaming is our business.** A vendor that cannot stream, or only streams, still serves both kinds of client.
- **Errors** keep the vendor's status and text, in the caller's own shape.
- **Usage** in the ledger is the vendor's own. An answer whose vendor reports none tells the client an estimate,
  and its usage row says `estimated`.
- **Output caps.** Anthropic demands `max_tokens`: a client that names none gets the model's `max_output_tokens`, or
  {DEFAULT_MAX_TOKENS} beside the thinking budget where that is not known. Requests that we write for Anthropic speak version `2023-06-01`.
- **Signed thinking** of a foreign vendor travels in the one field the client's dialect has for it, and is handed back
  to its vendor unharmed when the conversation goes on there.
- **Custom tools** take free text; where a dialect or a vendor's chat completions know only functions, a function with one
  string stands in: in the tools, in the history, and on the way back, whole and streamed, where the client sees its own
  tool called. A grammar is told to the model in the description and lost otherwise (`tool_grammar`).
- **Counting tokens** asks a vendor's counter, in whatever dialect it is; where there is none the answer is an estimate
  and says so in `x-gproxy-estimate: true`. Counting uses no limit and costs nothing.
- **Bedrock Converse** is spoken to vendors only. What it has no word for goes into the model's own fields, in the words
  of the model's family (Claude, Nova, Mistral, Cohere), told from its id; the column is that of Nova 2. Models of other
  families lose thinking, `top_k` and cache points; the ARN of a profile of your own keeps the cache points.

## Conversations that go on by an id

`previous_response_id` and `store` of the Responses API work with every provider. {" and ".join([", ".join(KEEPERS[:-1]), KEEPERS[-1]])} keep their answers
themselves; for all others, in whatever dialect they are spoken to, the gateway does:

- An answer is kept unless the request says `"store": false`, with what the request said.
- A later request that names its id as `previous_response_id` is sent on with the whole conversation before its own
  input: messages with all their parts, reasoning with its signatures, tool calls and results. It may go to any provider,
  in any dialect, also to one that keeps its own answers. `instructions` and `tools` are not carried over.
- An `item_reference` to an item of such an answer is replaced by the item. Answers of servers that speak the Responses
  API and keep none have items with ids of their own; those cannot be referred to.
- `GET /v1/responses/{{id}}`, `GET /v1/responses/{{id}}/input_items` (what that request said itself) and
  `DELETE /v1/responses/{{id}}` show and delete it.
- A conversation is kept until 30 days after its last turn, then deleted as a whole. The stored setting
  `conversation_retention_days` changes that; 0 keeps nothing. A deleted user's conversations go with the user.
- Writing happens after the answer, and no answer waits for it. A gateway that is killed in that moment has not kept it;
  then going on from it is a 400 that says so. So is a conversation of more than 900 turns or more than `--max-body`.
  An answer that is larger than 12 MiB together with its request is not kept.

Of an answer that a provider keeps, the gateway notes whose it is and which key it was made with. A request that goes on
from it is sent as it is, with that very key; the three calls above are passed on to the provider in the same way.

Whoever keeps it, only the user it was made for can see an answer, go on from it or delete it: for everybody else it does
not exist. Ids that the gateway has never seen are passed on to providers that speak the Responses API; elsewhere they are
a 400.

## Reasoning effort and budgets

Some dialects say how hard to think in words, some in tokens. Where one meets the other:

| effort | budget in tokens |
| --- | --- |
"""

TAIL: Final = """\

A budget below or at a step becomes that step's word:

| budget up to | effort |
| --- | --- |
"""


def lost(client: Dialect, upstream: Dialect, probe: dict[str, Any]) -> list[str]:
    """The features that this request loses on this road."""
    body = {"model": "m", **copy.deepcopy(BASES[client]), **copy.deepcopy(probe)}
    names = Names("m", MODELS.get(upstream, "m"))
    # As in the gateway: answers for clients that can name them later are kept by it.
    keep = (lambda _: None) if client is RESPONSES else None
    setup = Setup(client, upstream, names, streams=False, upstream_streams=False, keep=keep)
    hub = Hub(setup, Tally())
    hub.request(json.dumps(body).encode())
    return [loss.feature.value for loss in hub.losses.found]


def _table(client: Dialect) -> list[str]:
    others = [dialect for dialect in VENDOR_DIALECTS if dialect is not client]
    lines = [
        f"## What {NAMES[client]} clients can say",
        "",
        f"| | {' | '.join(f'to {NAMES[other]}' for other in others)} |",
        f"| --- {'| --- ' * len(others)}|",
    ]
    for label, probe in PROBES[client].items():
        cells = (", ".join(f"loses `{name}`" for name in lost(client, other, probe)) or "yes" for other in others)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return [*lines, ""]


def translation_page() -> str:
    """docs/translation.md."""
    words = [f"| {effort.value} | {BUDGETS[effort]} |" for effort in Effort]
    steps = (0, 1024, 4096, 12288)
    back = [f"| {step} | {effort_of(step).value} |" for step in steps]
    back.append(f"| more | {effort_of(10**9).value} |")
    tables = [line for client in GENERATE_DIALECTS for line in _table(client)]
    return HEAD + "\n".join([*words, TAIL.rstrip("\n"), *back, "", *tables]).rstrip("\n") + "\n"
