"""Clouds and engines of one's own through their own channels: the paths they have, and how they want to be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from gproxy.vendor.aws import SECRET_PREFIX
from tests.process import rig
from tests.process.test_tokens import TokenEndpoint, service_account
from tests.vendor.legal import judge

pytestmark = [pytest.mark.process, pytest.mark.sdk]

NOVA, CLAUDE = "us.amazon.nova-2-lite-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
OSS = "openai.gpt-oss-120b-1:0"
SAID = "[[sim tokens=7,reasoning=3,cached=5]] one two three"
SCHEMA: Any = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def provider(name: str, channel: str, port: int, credentials: str, **settings: str) -> str:
    written = ", ".join(f'{key} = "{value}"' for key, value in settings.items())
    return f"""
[[providers]]
name = "{name}"
channel = "{channel}"
settings = {{ base_url = "http://127.0.0.1:{port}"{", " + written if written else ""} }}
credentials = [ {credentials} ]
"""


@pytest.fixture(scope="module")
def account() -> Iterator[TokenEndpoint]:
    with TokenEndpoint.running() as server:
        yield server


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Vendor]:
    """A vendor that asks for no key."""
    with rig.vendor(tmp_path_factory.mktemp("engine"), None, "--keyless") as made:
        yield made


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor, engine: rig.Vendor, account: TokenEndpoint
) -> Iterator[rig.Gateway]:
    aws = f'access_key_id = "AKIAGOOD", secret_access_key = "{SECRET_PREFIX}AKIAGOOD"'
    wrong = 'access_key_id = "AKIAWRONG", secret_access_key = "another"'
    key, google = f'{{ api_key = "{rig.VENDOR_KEY}" }}', service_account(account.uri, "demo-7")
    port = vendor.port
    extra = "".join(
        (
            provider("aws", "bedrock", port, f'{{ {aws}, session_token = "token/+=" }}', region="us-east-1"),
            provider("aws-key", "bedrock", port, key, region="eu-central-1"),
            provider("aws-two", "bedrock", port, f"{{ {wrong} }}, {{ {aws} }}", region="us-east-1", rotation="sticky"),
            provider("azure", "azure_openai", port, key),
            provider("azure-dated", "azure_openai", port, key, api_version="2024-10-21"),
            provider("google", "vertex", port, f"{{ service_account = {google} }}", location="us-east5"),
            provider("ollama", "ollama", engine.port, "{}"),
            provider("vllm", "vllm", port, key),
            provider("vllm-open", "vllm", engine.port, "{}"),
        )
    )  # fmt: skip
    with rig.gateway(tmp_path_factory.mktemp("gateway"), rig.seed(port, extra)) as made:
        yield made


class Asked:
    """Small questions through the official SDKs, and what the vendor saw of the last one."""

    def __init__(self, gateway: rig.Gateway, *vendors: rig.Vendor) -> None:
        self.gateway = gateway
        self._vendors = vendors
        self.openai = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=rig.ALICE, max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=gateway.url, api_key=rig.ALICE, max_retries=0)
        self.gemini = genai.Client(api_key=rig.ALICE, http_options=types.HttpOptions(base_url=gateway.url))

    def close(self) -> None:
        self.openai.close()
        self.anthropic.close()
        self.gemini.close()

    def seen(self) -> dict[str, Any]:
        """The vendors' own record of the last request that reached one."""
        files = [vendor.count_file for vendor in self._vendors if vendor.count_file.exists()]
        every = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        last: dict[str, Any] = max((one for one in every if one["ev"] == "seen"), key=lambda one: one["at"])
        return last

    def path(self) -> str:
        return str(self.seen()["path"])

    def rows(self, where: str, count: int) -> list[dict[str, Any]]:
        """So many usage rows, in order, waited for."""
        sql = f"SELECT * FROM usages WHERE {where} ORDER BY at, attempt_no"

        def landed() -> list[dict[str, Any]] | None:
            found = self.gateway.query(sql)
            return found if len(found) >= count else None

        found: list[dict[str, Any]] = rig.await_that(landed, self.gateway, f"{count} usage rows")
        return found

    def chat(self, model: str, *, stream: bool, said: str = SAID) -> tuple[str, int, int]:
        messages: Any = [{"role": "user", "content": said}]
        if not stream:
            whole = self.openai.chat.completions.create(model=model, messages=messages, max_tokens=90)
        else:
            with self.openai.chat.completions.stream(
                model=model, messages=messages, max_tokens=90, stream_options={"include_usage": True}
            ) as chunks:
                whole = chunks.get_final_completion()
        assert whole.usage
        assert whole.model == model
        return whole.choices[0].message.content or "", whole.usage.prompt_tokens, whole.usage.completion_tokens

    def responses(self, model: str, *, stream: bool) -> tuple[str, int, int]:
        if not stream:
            made = self.openai.responses.create(model=model, input=SAID, max_output_tokens=90)
        else:
            with self.openai.responses.stream(model=model, input=SAID, max_output_tokens=90) as events:
                made = events.get_final_response()
        assert made.usage
        return made.output_text, made.usage.input_tokens, made.usage.output_tokens

    def messages(self, model: str, *, stream: bool, said: str = SAID) -> anthropic.types.Message:
        asked: Any = [{"role": "user", "content": said}]
        if not stream:
            return self.anthropic.messages.create(model=model, max_tokens=90, messages=asked)
        with self.anthropic.messages.stream(model=model, max_tokens=90, messages=asked) as events:
            return events.get_final_message()

    def google(self, model: str, *, stream: bool) -> tuple[str, int, int]:
        config = types.GenerateContentConfig(max_output_tokens=90)
        ask = self.gemini.models.generate_content_stream if stream else self.gemini.models.generate_content
        made = ask(model=model, contents=SAID, config=config)
        chunks = [made] if isinstance(made, types.GenerateContentResponse) else list(made)
        usage = chunks[-1].usage_metadata
        assert usage
        parts = [
            part
            for chunk in chunks
            for one in chunk.candidates or ()
            if one.content
            for part in one.content.parts or ()
        ]
        text = "".join(part.text or "" for part in parts if not part.thought)
        output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        return text, usage.prompt_token_count or 0, output


@pytest.fixture(scope="module")
def asked(gateway: rig.Gateway, vendor: rig.Vendor, engine: rig.Vendor) -> Iterator[Asked]:
    made = Asked(gateway, vendor, engine)
    yield made
    made.close()


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
"""Whole answers and streams alike."""


# --- Amazon Bedrock ---


@both
@pytest.mark.parametrize("name", ["aws", "aws-key"])
@pytest.mark.parametrize("model", [NOVA, PROFILE])
def test_converse_for_every_sdk(asked: Asked, name: str, model: str, stream: bool) -> None:
    """Signed with SigV4 and with an API key, under an id and under an ARN whose slash the path must keep apart."""
    full = f"{name}/{model}"
    for text, prompt, output in (
        asked.chat(full, stream=stream), asked.responses(full, stream=stream), asked.google(full, stream=stream),
    ):  # fmt: skip
        assert (len(text.split()), prompt, output) == (7, 10, 10)
    message = asked.messages(full, stream=stream)
    assert [block.type for block in message.content] == ["thinking", "text"]
    thinking = message.content[0]
    assert thinking.type == "thinking"
    assert thinking.signature.startswith("gproxy.bedrock_converse:"), "a signature says whose it is"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (
        5,
        5,
        10,
    )
    rows = asked.rows(f"model_asked = '{full}' AND streamed = {int(stream)}", 4)
    assert {(row["channel"], row["dialect_out"], row["outcome"]) for row in rows} == {
        ("bedrock", "bedrock_converse", "complete")
    }
    figures = {(row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["source"]) for row in rows}
    assert figures == {(5, 5, 10, "reported")}
    escaped = model.replace(":", "%3A").replace("/", "%2F")
    assert asked.path() == f"/model/{escaped}/{'converse-stream' if stream else 'converse'}"


@both
def test_calls_and_their_results_through_converse(asked: Asked, stream: bool) -> None:
    tools: Any = [
        {"name": "add", "description": "adds", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}
    ]
    turns: Any = [{"role": "user", "content": "[[sim reasoning=2]] go"}]
    ask: dict[str, Any] = {"model": f"aws/{NOVA}", "max_tokens": 200, "tools": tools, "tool_choice": {"type": "any"}}
    if stream:
        with asked.anthropic.messages.stream(messages=turns, **ask) as events:
            message = events.get_final_message()
    else:
        message = asked.anthropic.messages.create(messages=turns, **ask)
    assert message.stop_reason == "tool_use"
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"a": 7}]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "14", "is_error": False} for call in calls]
    turns = [*turns, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    after = asked.anthropic.messages.create(messages=turns, **{**ask, "tool_choice": {"type": "auto"}})
    assert after.content[-1].type == "text"
    raw = asked.anthropic.messages.with_raw_response.create(messages=turns, **{**ask, "tool_choice": {"type": "auto"}})
    assert raw.headers["x-gproxy-loss"] == "cache_control", "Nova keeps no tools in its cache, and nothing else is lost"


@both
def test_claude_on_bedrock_is_spoken_to_in_its_own_dialect(asked: Asked, stream: bool) -> None:
    message = asked.messages(f"aws/{CLAUDE}", stream=stream)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 10)
    assert asked.path().endswith("invoke-with-response-stream" if stream else "/invoke")
    text, prompt, output = asked.chat(f"aws/{CLAUDE}", stream=stream)
    assert (len(text.split()), prompt, output) == (7, 10, 10)
    assert asked.seen()["dialect"] == "anthropic_messages"


@both
def test_openais_models_on_bedrock_have_a_path_of_their_own(asked: Asked, stream: bool) -> None:
    assert asked.chat(f"aws-key/{OSS}", stream=stream)[1:] == (10, 10)
    assert asked.path() == "/openai/v1/chat/completions"


def test_a_signature_that_bedrock_refuses_disables_its_key(asked: Asked, gateway: rig.Gateway) -> None:
    for _ in range(2):
        status, headers, body = gateway.request(
            "POST", "/aws-two/v1/chat/completions", {"model": NOVA, "messages": [{"role": "user", "content": "a"}]}
        )
        assert status == 200, body
    rows = asked.rows("provider_name = 'aws-two'", 3)
    assert [(row["attempt_no"], row["outcome"], row["status"]) for row in rows] == [
        (1, "failed", 403), (2, "complete", 200), (1, "complete", 200),
    ]  # fmt: skip
    assert headers["x-gproxy-attempts"] == "1"
    sql = "SELECT reason FROM credential_statuses WHERE state = 'disabled'"
    (told,) = rig.await_that(lambda: gateway.query(sql) or None, gateway, "the credential's state in the database")
    assert "InvalidSignatureException" in told["reason"]


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ("status=400,code=ValidationException,message=loose", 400, "ValidationException"),
        ("status=404,code=ResourceNotFoundException,message=loose", 404, "ResourceNotFoundException"),
    ],
)
def test_what_bedrock_refuses_is_told_with_its_name(gateway: rig.Gateway, script: str, status: int, code: str) -> None:
    ask = {"model": NOVA, "messages": [{"role": "user", "content": f"[[sim {script}]]"}]}
    for path in ("chat/completions", "messages"):
        found, _, body = gateway.request("POST", f"/aws/v1/{path}", {**ask, "max_tokens": 9})
        error = json.loads(body)["error"]
        assert (found, error["message"], error["code"]) == (status, "loose", code)


@pytest.mark.parametrize("framing", ["byte", "bytes:7", "random:4", "whole"])
def test_frames_may_be_cut_anywhere(asked: Asked, framing: str) -> None:
    said = f"[[sim tokens=7,split={framing}]] one two three"
    for model in (NOVA, CLAUDE):
        text, _, output = asked.chat(f"aws/{model}", stream=True, said=said)
        assert (len(text.split()), output) == (7, 7)


def test_a_stream_that_bedrock_ends_with_an_exception(asked: Asked) -> None:
    said = "[[sim fail=error_mid,at=4,tokens=20,code=throttlingException,message=slowly]]"
    for model in (NOVA, CLAUDE):
        with pytest.raises(openai.APIError, match="slowly"):
            asked.chat(f"aws/{model}", stream=True, said=said)


BREAKS = ("reset_mid", "close_mid", "truncate", "bad_chunk")


# Without its last event a message of Anthropic's has still said why it ended; Converse says that in its last but one.
@pytest.mark.parametrize(
    ("model", "fault"), [*((model, fault) for model in (NOVA, CLAUDE) for fault in BREAKS), (NOVA, "no_end")]
)
def test_a_stream_that_bedrock_breaks_off_never_looks_whole(
    asked: Asked, gateway: rig.Gateway, model: str, fault: str
) -> None:
    for path, body in (
        ("chat/completions", {"messages": [{"role": "user", "content": f"[[sim fail={fault},at=5,tokens=20]] a"}]}),
        (
            "messages",
            {"messages": [{"role": "user", "content": f"[[sim fail={fault},at=5,tokens=20]] a"}], "max_tokens": 50},
        ),
    ):
        ask = {"model": model, "stream": True, **body}
        status, headers, raw = gateway.request("POST", f"/aws/v1/{path}", ask)
        assert status == 200
        verdict = judge("anthropic_messages" if path == "messages" else "openai_chat", stream=True, body=raw)
        assert verdict.legal, verdict.faults
        assert verdict.error
        assert not verdict.complete
        (row,) = asked.rows(f"request_id = '{headers['x-request-id']}'", 1)
        assert row["outcome"] == "interrupted"
        assert row["output_tokens"] > 0


@both
@pytest.mark.parametrize("fault", ["html", "error_200", "empty_200"])
def test_what_is_no_answer_of_bedrocks(gateway: rig.Gateway, fault: str, stream: bool) -> None:
    model = f"amazon.nova-{fault}-{stream}"  # a failure makes the key rest for the model that failed
    ask = {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"[[sim fail={fault}]] a"}]}
    status, _, raw = gateway.request("POST", "/aws-key/v1/chat/completions", ask)
    assert (status, json.loads(raw)["error"]["code"]) == (502, "upstream_error"), raw


# --- Azure OpenAI ---


@both
def test_azure_v1_and_dated(asked: Asked, stream: bool) -> None:
    assert asked.chat("azure/my-deployment", stream=stream)[1:] == (10, 10)
    assert asked.path() == "/openai/v1/chat/completions"
    assert asked.chat("azure-dated/my-deployment", stream=stream)[1:] == (10, 10)
    assert asked.path() == "/openai/deployments/my-deployment/chat/completions"
    assert asked.responses("azure/my-deployment", stream=stream)[1:] == (10, 10)
    assert asked.path() == "/openai/v1/responses"
    assert asked.messages("azure/my-deployment", stream=stream).usage.output_tokens == 10


def test_azure_embeds(asked: Asked) -> None:
    made = asked.openai.embeddings.create(model="azure/my-embeddings", input=["one two", "three"])
    assert len(made.data) == 2
    assert asked.path() == "/openai/v1/embeddings"


# --- Vertex ---


@both
def test_gemini_on_vertex(asked: Asked, stream: bool) -> None:
    text, prompt, output = asked.google("google/gemini-3-pro", stream=stream)
    assert (len(text.split()), prompt, output) == (7, 10, 10)
    verb = "streamGenerateContent" if stream else "generateContent"
    place = "/v1/projects/demo-7/locations/us-east5/publishers/google/models"
    assert asked.path() == f"{place}/gemini-3-pro:{verb}"
    assert asked.chat("google/gemini-3-pro", stream=stream)[1:] == (10, 10)
    assert asked.seen()["dialect"] == "gemini"


@both
def test_claude_on_vertex(asked: Asked, stream: bool) -> None:
    message = asked.messages("google/claude-opus-4-6@20260101", stream=stream)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.usage.output_tokens == 10
    verb = "streamRawPredict" if stream else "rawPredict"
    place = "/v1/projects/demo-7/locations/us-east5/publishers/anthropic/models"
    assert asked.path() == f"{place}/claude-opus-4-6%4020260101:{verb}"
    assert asked.chat("google/claude-opus-4-6@20260101", stream=stream)[1:] == (10, 10)
    assert asked.seen()["dialect"] == "anthropic_messages"


def test_vertex_counts(asked: Asked) -> None:
    question: Any = [{"role": "user", "content": "one two three"}]
    counted = asked.anthropic.messages.count_tokens(model="google/claude-opus-4-6@20260101", messages=question)
    assert counted.input_tokens == 3
    assert asked.path().endswith("/publishers/anthropic/models/count-tokens:rawPredict")
    assert asked.gemini.models.count_tokens(model="google/gemini-3-pro", contents="one two three").total_tokens == 3
    assert asked.path().endswith("/publishers/google/models/gemini-3-pro:countTokens")


# --- engines of one's own ---


@both
@pytest.mark.parametrize("name", ["ollama", "vllm", "vllm-open"])
def test_engines(asked: Asked, name: str, stream: bool) -> None:
    """With a key where there is one, without where there is none; Ollama takes Anthropic's messages as they are."""
    model = f"{name}/qwen3:8b"
    assert asked.chat(model, stream=stream)[1:] == (10, 10)
    seen = asked.seen()
    assert seen["path"] == "/v1/chat/completions"
    assert ("credential" in seen) is (name == "vllm")
    assert asked.responses(model, stream=stream)[1:] == (10, 10)
    assert asked.path() == "/v1/responses"
    assert asked.messages(model, stream=stream).usage.output_tokens == 10
    assert asked.seen()["dialect"] == ("anthropic_messages" if name == "ollama" else "openai_chat")
    assert asked.google(model, stream=stream)[2] == 10


@pytest.mark.parametrize("name", ["ollama", "vllm"])
def test_engines_embed(asked: Asked, name: str) -> None:
    assert len(asked.openai.embeddings.create(model=f"{name}/nomic", input=["a", "b"]).data) == 2
    assert asked.path() == "/v1/embeddings"


def test_one_token_served_every_call_to_google(asked: Asked, account: TokenEndpoint) -> None:
    assert asked.google("google/gemini-3-pro", stream=False)[2] == 10
    assert account.asked == 1
