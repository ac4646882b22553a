"""Every dialect's official SDK against a vendor of every dialect, through the real gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.process import rig
from tests.shared import require_shared
from tests.translate import meaning
from tests.vendor.legal import judge

pytestmark = [pytest.mark.process, pytest.mark.sdk]

DIALECTS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
UPSTREAMS = (*DIALECTS, "bedrock_converse")
SHORT = {
    "openai_chat": "chat", "openai_responses": "responses", "anthropic_messages": "messages", "gemini": "gemini",
    "bedrock_converse": "converse",
}  # fmt: skip
PAIRS = [(client, upstream) for client in DIALECTS for upstream in UPSTREAMS]
QUESTION = "one two three"
SEVEN = "[[sim tokens=7]] one two three"
SCHEMA: Any = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

PROVIDERS = """
[[providers]]
name = "{name}"
channel = "custom"
settings = {{ base_url = "http://127.0.0.1:{vendor}", dialect = "{dialect}"{more} }}
credentials = [ {{ api_key = "{key}" }} ]

[[models]]
provider_name = "{name}"
model_id = "sim-model"
price = {{ input = 1.0, output = 2.0 }}
"""


def providers(vendor: int) -> str:
    plain = [(SHORT[dialect], dialect, "") for dialect in UPSTREAMS]
    strict = [("strict", "anthropic_messages", ', loss = "forbid"')]
    return "".join(
        PROVIDERS.format(name=name, dialect=dialect, vendor=vendor, key=rig.VENDOR_KEY, more=more)
        for name, dialect, more in (*plain, *strict)
    )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    seed = rig.seed(vendor.port, providers(vendor.port))
    with rig.gateway(tmp_path_factory.mktemp("gateway"), seed) as made:
        yield made


class Clients:
    """The official SDKs, each asked the same small things."""

    def __init__(self, url: str) -> None:
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key=rig.ALICE, max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=url, api_key=rig.ALICE, max_retries=0)
        self.gemini = genai.Client(api_key=rig.ALICE, http_options=types.HttpOptions(base_url=url))

    def close(self) -> None:
        self.openai.close()
        self.anthropic.close()
        self.gemini.close()

    def ask(self, dialect: str, model: str, said: str = SEVEN, *, cap: int = 90) -> tuple[str, int, int, str]:
        """Text, prompt and output tokens, and the model of a whole answer."""
        if dialect == "openai_chat":
            chat = self.openai.chat.completions.create(
                model=model, messages=[{"role": "user", "content": said}], max_tokens=cap
            )
            assert chat.usage
            text = chat.choices[0].message.content or ""
            return text, chat.usage.prompt_tokens, chat.usage.completion_tokens, chat.model
        if dialect == "openai_responses":
            made = self.openai.responses.create(model=model, input=said, max_output_tokens=cap)
            assert made.usage
            return made.output_text, made.usage.input_tokens, made.usage.output_tokens, made.model
        if dialect == "anthropic_messages":
            message = self.anthropic.messages.create(
                model=model, max_tokens=cap, messages=[{"role": "user", "content": said}]
            )
            block = message.content[0]
            assert block.type == "text"
            return block.text, message.usage.input_tokens, message.usage.output_tokens, message.model
        found = self.gemini.models.generate_content(
            model=model, contents=said, config=types.GenerateContentConfig(max_output_tokens=cap)
        )
        return _gemini_of([found])

    def stream(self, dialect: str, model: str, said: str = SEVEN, *, cap: int = 90) -> tuple[str, int, int, str]:
        """The same, streamed, through the SDK's own accumulator."""
        if dialect == "openai_chat":
            with self.openai.chat.completions.stream(
                model=model,
                messages=[{"role": "user", "content": said}],
                max_tokens=cap,
                stream_options={"include_usage": True},
            ) as chat:
                whole = chat.get_final_completion()
            assert whole.usage
            text = whole.choices[0].message.content or ""
            return text, whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.model
        if dialect == "openai_responses":
            with self.openai.responses.stream(model=model, input=said, max_output_tokens=cap) as response:
                made = response.get_final_response()
            assert made.usage
            return made.output_text, made.usage.input_tokens, made.usage.output_tokens, made.model
        if dialect == "anthropic_messages":
            with self.anthropic.messages.stream(
                model=model, max_tokens=cap, messages=[{"role": "user", "content": said}]
            ) as stream:
                message = stream.get_final_message()
            block = message.content[0]
            assert block.type == "text"
            return block.text, message.usage.input_tokens, message.usage.output_tokens, message.model
        config = types.GenerateContentConfig(max_output_tokens=cap)
        return _gemini_of(list(self.gemini.models.generate_content_stream(model=model, contents=said, config=config)))

    def call(self, dialect: str, model: str) -> list[tuple[str, Any]]:
        """The tool calls of an answer that must have some."""
        said = "[[sim tools=2]] go"
        tools: Any
        if dialect == "openai_chat":
            tools = [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]
            chat = self.openai.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": said}],
                tools=tools,
                tool_choice="required",
            )
            calls = chat.choices[0].message.tool_calls or []
            assert chat.choices[0].finish_reason == "tool_calls"
            return [
                (call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"
            ]
        if dialect == "openai_responses":
            tools = [{"type": "function", "name": "add", "parameters": SCHEMA, "strict": False}]
            made = self.openai.responses.create(
                model=model,
                input=said,
                tools=tools,
                tool_choice="required",
            )
            return [(one.name, json.loads(one.arguments)) for one in made.output if one.type == "function_call"]
        if dialect == "anthropic_messages":
            tools = [{"name": "add", "input_schema": SCHEMA}]
            message = self.anthropic.messages.create(
                model=model,
                max_tokens=500,
                messages=[{"role": "user", "content": said}],
                tools=tools,
                tool_choice={"type": "any"},
            )
            assert message.stop_reason == "tool_use"
            return [(block.name, block.input) for block in message.content if block.type == "tool_use"]
        tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="add", parameters_json_schema=SCHEMA)])
        found = self.gemini.models.generate_content(
            model=model, contents=said, config=types.GenerateContentConfig(tools=[tool])
        )
        return [(call.name or "", call.args) for call in found.function_calls or []]


def _gemini_of(chunks: list[types.GenerateContentResponse]) -> tuple[str, int, int, str]:
    usage = chunks[-1].usage_metadata
    assert usage
    text = "".join(chunk.text or "" for chunk in chunks)
    return (
        text,
        usage.prompt_token_count or 0,
        (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        chunks[-1].model_version or "",
    )


@pytest.fixture(scope="module")
def clients(gateway: rig.Gateway) -> Iterator[Clients]:
    made = Clients(gateway.url)
    yield made
    made.close()


def newest(gateway: rig.Gateway, known: int) -> dict[str, Any]:
    return gateway.rows(known + 1)[-1]


def row_of(gateway: rig.Gateway, headers: dict[str, str]) -> dict[str, Any]:
    wanted = f"SELECT * FROM usages WHERE request_id = '{headers['x-request-id']}'"
    found: list[dict[str, Any]] = rig.await_that(lambda: gateway.query(wanted) or None, gateway, "the usage row")
    return found[-1]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_every_sdk_reads_every_vendor(
    gateway: rig.Gateway, clients: Clients, client: str, upstream: str, streamed: bool
) -> None:
    model = f"{SHORT[upstream]}/sim-model"
    known = len(gateway.rows())
    ask = clients.stream if streamed else clients.ask
    text, prompt, output, served = ask(client, model)
    assert len(text.split()) == 7
    assert served == model
    row = newest(gateway, known)
    assert (row["dialect_in"], row["dialect_out"]) == (client, upstream)
    assert (row["input_tokens"] + (row["cache_read_tokens"] or 0), row["output_tokens"]) == (prompt, output)
    assert row["output_tokens"] == 7
    assert row["cost_nano_usd"] == row["input_tokens"] * 1000 + 7 * 2000
    assert (row["source"], row["outcome"], row["streamed"]) == ("reported", "complete", streamed)
    assert row["operation"] == ("stream" if streamed else "generate")


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_tool_calls_arrive(clients: Clients, client: str, upstream: str) -> None:
    calls = clients.call(client, f"{SHORT[upstream]}/sim-model")
    assert [name for name, _ in calls] == ["add", "add"]
    assert all(isinstance(arguments, dict) for _, arguments in calls)
    assert calls == clients.call(client, f"{SHORT[client]}/sim-model")


BODIES: dict[str, Any] = {
    "openai_chat": {"messages": [{"role": "user", "content": "SAID"}]},
    "openai_responses": {"input": "SAID"},
    "anthropic_messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "SAID"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "SAID"}]}]},
}


def asked(
    gateway: rig.Gateway, client: str, model: str, said: str, *, stream: bool = False, array: bool = False, **more: Any
) -> tuple[int, dict[str, str], bytes]:
    body = json.loads(json.dumps(BODIES[client]).replace("SAID", said)) | more
    if client == "gemini":
        action = "streamGenerateContent" if stream else "generateContent"
        query = "?alt=sse" if stream and not array else ""
        return gateway.request("POST", f"/v1beta/models/{model}:{action}{query}", body)
    path = {"openai_chat": "/v1/chat/completions", "openai_responses": "/v1/responses"}.get(client, "/v1/messages")
    return gateway.request("POST", path, {"model": model, "stream": stream, **body})


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_vendors_refusal_keeps_status_and_text(gateway: rig.Gateway, client: str, upstream: str) -> None:
    said = "[[sim status=422,message=loose]]"
    for stream in (False, True):
        status, _, body = asked(gateway, client, f"{SHORT[upstream]}/sim-model", said, stream=stream)
        assert status == 422
        error = json.loads(body)["error"]
        assert error["message"] == "loose"
        assert error.get("code") == 422 or client != "gemini"
        assert error.get("type") or client == "gemini"


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@pytest.mark.parametrize("fault", ["close_mid", "error_mid"])
def test_a_stream_that_fails_ends_in_the_callers_own_error(
    gateway: rig.Gateway, client: str, upstream: str, fault: str
) -> None:
    said = f"[[sim fail={fault},at=6,tokens=30]]"
    status, headers, body = asked(gateway, client, f"{SHORT[upstream]}/sim-model", said, stream=True)
    assert status == 200
    verdict = judge(client, stream=True, body=body)
    assert verdict.legal, (verdict.faults, body[-300:])
    assert verdict.error
    assert not verdict.complete
    row = row_of(gateway, headers)
    assert row["outcome"] == ("failed" if fault == "error_mid" else "interrupted")
    assert row["output_tokens"] > 0


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_gemini_client_may_read_an_array(gateway: rig.Gateway, upstream: str) -> None:
    model = f"{SHORT[upstream]}/sim-model"
    status, headers, body = asked(gateway, "gemini", model, QUESTION, stream=True, array=True)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "application/json")
    verdict = judge("gemini", stream=True, body=body, sse=False)
    assert verdict.legal
    assert verdict.complete
    assert verdict.usage
    if upstream == "gemini":
        return  # passed through as it is; the simulated vendor has no error inside an array
    _, _, broken = asked(gateway, "gemini", model, "[[sim fail=error_mid,at=6,tokens=30]]", stream=True, array=True)
    assert judge("gemini", stream=True, body=broken, sse=False).error


def test_what_is_lost_is_told_or_forbidden(gateway: rig.Gateway) -> None:
    status, headers, _ = asked(gateway, "openai_chat", "messages/sim-model", QUESTION, seed=7)
    assert status == 200
    assert "seed" in headers["x-gproxy-loss"]
    status, headers, body = asked(gateway, "openai_chat", "strict/sim-model", QUESTION, seed=7)
    assert status == 400
    error = json.loads(body)["error"]
    assert error["param"] == "seed"
    assert "seed" in error["message"]
    status, headers, _ = asked(gateway, "openai_chat", "strict/sim-model", QUESTION)
    assert status == 200
    assert "x-gproxy-loss" not in headers


def test_a_kept_conversation_cannot_be_continued_elsewhere(gateway: rig.Gateway) -> None:
    status, _, body = asked(gateway, "openai_responses", "chat/sim-model", QUESTION, previous_response_id="resp_1")
    assert status == 400
    assert json.loads(body)["error"]["param"] == "previous_response_id"


def test_a_field_of_the_wrong_type_is_named_in_the_callers_dialect(gateway: rig.Gateway) -> None:
    status, _, body = asked(gateway, "anthropic_messages", "chat/sim-model", QUESTION, temperature="hot")
    assert status == 400
    found = json.loads(body)
    assert found["type"] == "error"
    assert "temperature" in found["error"]["message"]


def test_the_version_we_speak_is_our_own_where_we_translate(gateway: rig.Gateway, vendor: rig.Vendor) -> None:
    body = {"model": "messages/sim-model", "messages": [{"role": "user", "content": QUESTION}]}
    headers = {"anthropic-version": "2026-10-21"}
    status, _, _ = gateway.request("POST", "/v1/chat/completions?beta=true", body, headers=headers)
    assert status == 200
    seen = [json.loads(line) for line in vendor.count_file.read_text().splitlines()]
    last = next(one for one in reversed(seen) if one["ev"] == "seen")
    assert "beta" not in json.dumps(last)


# --- counting ---


def test_counting_asks_the_vendor_or_estimates(gateway: rig.Gateway, clients: Clients) -> None:
    message: Any = [{"role": "user", "content": QUESTION}]
    for model in ("messages/sim-model", "gemini/sim-model"):
        count = clients.anthropic.messages.count_tokens(model=model, messages=message)
        assert count.input_tokens == 3
        assert clients.gemini.models.count_tokens(model=model, contents=QUESTION).total_tokens == 3
        counted = clients.openai.responses.input_tokens.count(model=model, input=QUESTION)
        assert counted.input_tokens == 3

    def landed() -> list[dict[str, Any]] | None:
        found = gateway.query("SELECT * FROM usages WHERE operation = 'count_tokens'")
        return found if len(found) >= 6 else None

    rows = rig.await_that(landed, gateway, "six rows")
    assert len(rows) == 6
    assert {(row["cost_nano_usd"], row["input_tokens"], row["output_tokens"]) for row in rows} == {(0, 0, 0)}
    body = {"model": "chat/sim-model", "messages": message, "max_tokens": 1}
    status, headers, answer = gateway.request("POST", "/v1/messages/count_tokens?beta=true", body)
    assert (status, headers["x-gproxy-estimate"]) == (200, "true")
    assert 3 <= json.loads(answer)["input_tokens"] <= 12
    status, _, _ = gateway.request("POST", "/v1/messages/count_tokens", {**body, "model": "nothing"})
    assert status == 404
    assert len(landed() or ()) == 6


# --- the small ones ---


def test_small_dialects_are_passed_on(gateway: rig.Gateway, clients: Clients) -> None:
    embedded = clients.openai.embeddings.create(model="chat/sim-model", input=["one two", "three"])
    assert len(embedded.data) == 2
    assert embedded.model == "chat/sim-model"
    found = clients.gemini.models.embed_content(model="gemini/sim-model", contents=["one", "two"])
    assert found.embeddings
    assert len(found.embeddings) == 2


def test_embeddings_come_in_both_shapes_from_either(gateway: rig.Gateway, clients: Clients) -> None:
    embedded = clients.openai.embeddings.create(model="gemini/sim-model", input=["one two", "three"])
    assert embedded.model == "gemini/sim-model"
    assert embedded.usage.prompt_tokens > 0
    native = clients.gemini.models.embed_content(model="gemini/sim-model", contents=["one two", "three"])
    assert native.embeddings
    for mine, theirs in zip(embedded.data, native.embeddings, strict=True):
        assert mine.embedding == pytest.approx(theirs.values, abs=1e-6)
    found = clients.gemini.models.embed_content(model="chat/sim-model", contents=["one two", "three"])
    assert found.embeddings
    assert len(found.embeddings) == 2
    wanted = "SELECT * FROM usages WHERE operation = 'embed' AND dialect_in <> dialect_out"

    def landed() -> list[dict[str, Any]] | None:
        rows = gateway.query(wanted)
        return rows if len(rows) == 2 else None

    rows = rig.await_that(landed, gateway, "both rows")
    pairs = {(row["dialect_in"], row["dialect_out"], row["outcome"]) for row in rows}
    assert pairs == {("openai_embeddings", "gemini", "complete"), ("gemini", "openai_embeddings", "complete")}
    assert all(row["input_tokens"] > 0 for row in rows)
    single = {"content": {"parts": [{"text": "one two"}]}, "outputDimensionality": 4}
    status, _, body = gateway.request("POST", "/v1beta/models/chat/sim-model:embedContent", single)
    assert status == 200, body
    assert json.loads(body)["embedding"]["values"]


def test_embeddings_that_fail_do_so_in_the_callers_words(gateway: rig.Gateway) -> None:
    status, _, body = gateway.request("POST", "/v1/embeddings", {"model": "gemini/sim-model", "input": [[1, 2]]})
    assert status == 400
    assert json.loads(body)["error"]["param"] == "input"
    asked = {"content": {"parts": [{"text": "[[sim status=422,message=loose]]"}]}}
    status, _, body = gateway.request("POST", "/v1beta/models/chat/sim-model:embedContent", asked)
    assert (status, json.loads(body)["error"]["message"]) == (422, "loose")


def test_what_a_channel_cannot_do_is_501(gateway: rig.Gateway) -> None:
    for path, model in (("/v1/responses/compact", "chat"), ("/v1/embeddings", "messages"), ("/v1/rerank", "gemini")):
        status, _, body = gateway.request("POST", path, {"model": f"{model}/sim-model", "input": "a"})
        assert status == 501, path
        assert json.loads(body)["error"]["code"] == "unsupported"


def test_gemini_paths_need_no_version(gateway: rig.Gateway) -> None:
    body = BODIES["gemini"]
    for path in ("/models/gemini/sim-model", "/v1/models/gemini/sim-model", "/gemini/models/sim-model"):
        status, _, answer = gateway.request("POST", f"{path}:generateContent", body)
        assert status == 200, path
        assert json.loads(answer)["candidates"]


@pytest.mark.parametrize(
    ("client", "key", "model", "kind"),
    [
        ("anthropic", "sk-nobody", "messages/sim-model", anthropic.AuthenticationError),
        ("anthropic", rig.MUTE, "messages/sim-model", anthropic.PermissionDeniedError),
        ("anthropic", rig.ALICE, "nope", anthropic.NotFoundError),
        ("gemini", "sk-nobody", "gemini/sim-model", genai_errors.ClientError),
        ("gemini", rig.ALICE, "nope", genai_errors.ClientError),
    ],
)
def test_refusals_are_the_sdks_own_errors(gateway: rig.Gateway, client: str, key: str, model: str, kind: Any) -> None:
    if client == "anthropic":
        with anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as made, pytest.raises(kind):
            made.messages.create(model=model, max_tokens=5, messages=[{"role": "user", "content": "a"}])
        return
    asker = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=gateway.url))
    with pytest.raises(kind):
        asker.models.generate_content(model=model, contents="a")
    asker.close()


# --- passthrough ---

FOLDERS = {"openai_responses": "openai-responses", "anthropic_messages": "anthropic-messages", "gemini": "gemini"}


@pytest.mark.parametrize("dialect", FOLDERS)
def test_recordings_come_through_byte_for_byte(gateway: rig.Gateway, dialect: str) -> None:
    wrong: list[str] = []
    asked_for: dict[str, tuple[str, meaning.Meaning]] = {}
    for case in sorted((require_shared() / "fixtures" / FOLDERS[dialect]).iterdir()):
        meta = json.loads((case / "meta.json").read_text())
        if not meta["request"]["available"] or meta["status"] in {401, 403, 404, 429} or meta["status"] >= 500:
            continue  # these speak of the operator's key, or are tried again
        answer = next(case.glob("response.*"))
        wanted, stream = answer.read_bytes(), answer.suffix == ".sse"
        body = json.loads((case / "request.json").read_bytes())
        model = f"replay/{FOLDERS[dialect]}/{case.name},split=random:5"
        if dialect == "gemini":
            action = "streamGenerateContent" if stream or wanted[:1] == b"[" else "generateContent"
            query = "?alt=sse" if stream else ""
            path = f"/gemini/v1beta/models/{model}:{action}{query}"
        else:
            path = "/responses/v1/responses" if dialect == "openai_responses" else "/messages/v1/messages"
            body |= {"model": model, "stream": stream}
        status, headers, got = gateway.request("POST", path, body)
        if (status, got) != (meta["status"], wanted):
            wrong.append(f"{case.name}: {status} instead of {meta['status']}, {len(got)} bytes for {len(wanted)}")
        elif status == 200:
            asked_for[headers["x-request-id"]] = (case.name, meaning.read(dialect, wanted, stream=stream))
    assert not wrong, "\n".join(wrong)
    assert len(asked_for) > 150

    def landed() -> dict[str, dict[str, Any]] | None:
        found = {row["request_id"]: row for row in gateway.query("SELECT * FROM usages")}
        return found if asked_for.keys() <= found.keys() else None

    rows = rig.await_that(landed, gateway, "all rows")
    for request_id, (name, source) in asked_for.items():
        row = rows[request_id]
        if source.prompt is None or source.stop is None:
            continue
        kinds = ("input", "cache_read", "cache_write_5m", "cache_write_1h")
        assert sum(row[f"{kind}_tokens"] or 0 for kind in kinds) == source.prompt, name
        assert row["output_tokens"] == source.output, name
        assert (row["source"], row["outcome"]) == ("reported", "complete"), name
