from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.loader import catalog
from gproxy.errors import Kind, Refused
from gproxy.ids import CredentialId, ProviderId
from gproxy.pipeline.exchange import Call, Exchange
from gproxy.pipeline.projection import input_bound
from gproxy.pipeline.roads import (
    adjusted,
    carried,
    form_peek,
    reachable,
    road_of,
    take_note,
    takes_form,
    translator_of,
)
from gproxy.routing.provider import Credential, Provider, assemble
from gproxy.routing.route import Candidate, Resolution
from gproxy.secret import Secret
from gproxy.snapshot import Snapshot
from gproxy.translate.path import Way
from gproxy.translate.tally import Tally
from gproxy.wire.http import Deadlines, Header
from gproxy.wire.peek import Peek
from tests.pipeline.keepers import Memory

CHAT, MESSAGES, GEMINI = Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI
BOUNDARY = b"multipart/form-data; boundary=xyz"
FORM = (
    b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nmine\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\xff"image_url"\r\n--xyz--\r\n'
)


def provider(channel: str, **settings: Any) -> Provider:
    fields = {"api_key": Secret("k")}
    return assemble(
        provider_id=ProviderId("p"),
        name=channel,
        label=None,
        enabled=True,
        vendor=catalog()[channel],
        settings=settings,
        credentials=(Credential(CredentialId("c"), None, enabled=True, weight=1, fields=fields),),
        deadlines=Deadlines(),
    )


def exchange(
    dialect: Dialect, operation: Operation = Operation.GENERATE, *, query: str = "", headers: list[Header] | None = None
) -> Exchange:
    async def made() -> Exchange:  # it belongs to the task that serves it
        client: Any = None
        return Exchange(
            request_id="01890000-0000-7000-8000-000000000000",
            call=Call(operation, dialect, None, None, query, headers or []),
            client=client,
            snapshot=Snapshot(1, b"", {}, {}, {}, {}, {}, {}),
            started_at=0.0,
            started_us=0,
            method="POST",
            path="/",
            peer=None,
        )

    x = asyncio.run(made())
    x.model_asked = "mine"
    return x


def candidate(one: Provider, model: str = "theirs") -> Candidate:
    return Candidate(one, model)


@pytest.mark.parametrize(
    ("dialect", "operation", "said", "streams", "asked"),
    [
        (CHAT, Operation.GENERATE, True, True, Operation.STREAM),
        (CHAT, Operation.GENERATE, False, False, Operation.GENERATE),
        (GEMINI, Operation.STREAM, False, True, Operation.STREAM),
        (GEMINI, Operation.GENERATE, True, False, Operation.GENERATE),
        (MESSAGES, Operation.COUNT_TOKENS, True, False, Operation.COUNT_TOKENS),
        (Dialect.OPENAI_COMPLETIONS, Operation.COMPLETE, True, True, Operation.COMPLETE),
        (Dialect.OPENAI_EMBEDDINGS, Operation.EMBED, True, False, Operation.EMBED),
        (Dialect.OPENAI_IMAGES, Operation.CREATE_IMAGE, True, True, Operation.CREATE_IMAGE),
    ],
)
def test_who_says_whether_to_stream(
    dialect: Dialect, operation: Operation, said: bool, streams: bool, asked: Operation
) -> None:
    """A generate call that streams is an operation of its own."""
    x = exchange(dialect, operation)
    take_note(x, Peek(stream=said))
    assert (x.stream, x.operation) == (streams, asked)


def test_only_what_can_serve_is_tried() -> None:
    able, unable = provider("openai"), provider("anthropic")
    x = exchange(Dialect.OPENAI_EMBEDDINGS, Operation.EMBED)
    found, here = reachable(x, Resolution("mine", (candidate(unable), candidate(able))))
    assert (found.candidates, here) == ((candidate(able),), False)
    with pytest.raises(Refused) as told:
        reachable(x, Resolution("mine", (candidate(unable),)))
    assert told.value.failure.kind is Kind.UNSUPPORTED


def test_a_count_without_a_counter_is_answered_here() -> None:
    x = exchange(MESSAGES, Operation.COUNT_TOKENS)
    groq, real = candidate(provider("groq")), candidate(provider("anthropic"))
    assert reachable(x, Resolution("mine", (groq,)))[1]
    assert reachable(x, Resolution("mine", (groq, real)))[0].candidates == (real,)


def test_a_gemini_client_gets_the_form_it_asked_for() -> None:
    one = provider("aistudio")
    for query, wanted in (("", ""), ("alt=sse", "alt=sse"), ("key=k&alt=sse", "alt=sse"), ("alt=json", "")):
        x = exchange(GEMINI, Operation.STREAM, query=query)
        x.stream = True
        assert carried(x, road_of(x, one, "m")).endpoint.query == wanted


def test_what_belongs_to_the_callers_dialect_stays_behind_where_we_translate() -> None:
    headers = [(b"anthropic-version", b"2026-10-21"), (b"traceparent", b"t")]
    x = exchange(CHAT, query="beta=true", headers=headers)
    what = carried(x, road_of(x, provider("anthropic"), "m"))
    assert (what.headers, what.query, what.content_type) == ([headers[1]], "", b"application/json")
    same = exchange(MESSAGES, query="beta=true", headers=headers)
    what = carried(same, road_of(same, provider("anthropic"), "m"))
    assert (what.headers, what.query) == (headers, "beta=true")


def test_quirks_change_what_goes_upstream() -> None:
    headers = [(b"anthropic-beta", b"some-beta")]
    one = provider("bedrock", region="eu-central-1")
    x = exchange(MESSAGES, headers=headers)
    what = carried(x, road_of(x, one, "anthropic.claude-x"))
    body = json.loads(adjusted(b'{"model":"a","stream":false,"max_tokens":1,"messages":[]}', what, one.vendor))
    assert body == {
        "max_tokens": 1,
        "messages": [],
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["some-beta"],
    }
    plain = provider("mistral")
    chat = carried(exchange(CHAT), road_of(exchange(CHAT), plain, "m"))
    assert adjusted(body_of := b'{"model": "m", "max_tokens": 1}', chat, plain.vendor) is body_of
    assert json.loads(adjusted(b'{"max_completion_tokens":7}', chat, plain.vendor)) == {"max_tokens": 7}


@pytest.mark.parametrize("client", [CHAT, GEMINI, MESSAGES, Dialect.OPENAI_RESPONSES])
def test_claude_on_bedrock_is_reached_from_every_dialect(client: Dialect) -> None:
    x = exchange(client)
    found = road_of(x, provider("bedrock", region="eu-central-1"), "anthropic.claude-x")
    assert found.to is MESSAGES
    assert found.way is (Way.PASSTHROUGH if client is MESSAGES else Way.HUB)


@pytest.mark.parametrize("client", [CHAT, GEMINI, MESSAGES, Dialect.OPENAI_RESPONSES])
@pytest.mark.parametrize("model", ["us.amazon.nova-2-lite-v1:0", "arn:aws:bedrock:x:1:application-inference-profile/a"])
def test_other_models_on_bedrock_are_reached_through_converse(client: Dialect, model: str) -> None:
    one = provider("bedrock", region="eu-central-1")
    for operation, path in ((Operation.GENERATE, "converse"), (Operation.STREAM, "converse-stream")):
        found = road_of(exchange(client, operation), one, model)
        assert (found.way, found.to, found.operation) == (Way.HUB, Dialect.BEDROCK_CONVERSE, operation)
        assert found.endpoint is not None
        assert found.endpoint.path == f"/model/{{model}}/{path}"


def test_openais_models_on_bedrock_are_spoken_to_in_their_own_dialect() -> None:
    one = provider("bedrock", region="eu-central-1")
    assert road_of(exchange(CHAT), one, "openai.gpt-oss-120b-1:0").way is Way.PASSTHROUGH
    assert road_of(exchange(MESSAGES), one, "openai.gpt-oss-120b-1:0").to is CHAT


def test_forms_are_read_and_renamed() -> None:
    x = exchange(Dialect.OPENAI_AUDIO, Operation.TRANSCRIBE, headers=[(b"content-type", BOUNDARY)])
    x.body = FORM
    assert takes_form(x)
    assert form_peek(x) == Peek(model="mine", stream=True)
    one = provider("openai")
    found = road_of(x, one, "theirs")
    made = translator_of(x, candidate(one), found, Peek(), Tally(), Memory(), 0)
    assert made.request(FORM) == FORM.replace(b"mine", b"theirs")
    assert carried(x, found).content_type == BOUNDARY
    assert input_bound(FORM) > len(FORM)


@pytest.mark.parametrize("name", ["model", "stream"])
def test_a_form_says_once_what_decisions_rest_on(name: str) -> None:
    x = exchange(Dialect.OPENAI_AUDIO, Operation.TRANSCRIBE, headers=[(b"content-type", BOUNDARY)])
    x.body = b'--xyz\r\nContent-Disposition: form-data; name="%b"\r\n\r\nother\r\n' % name.encode() + FORM
    with pytest.raises(Refused) as told:
        form_peek(x)
    assert (told.value.failure.text, told.value.failure.param) == (f"`{name}` is given twice", name)


def test_a_broken_form_is_refused() -> None:
    x = exchange(Dialect.OPENAI_AUDIO, Operation.TRANSCRIBE, headers=[(b"content-type", BOUNDARY)])
    x.body = b"nothing"
    with pytest.raises(Refused) as told:
        form_peek(x)
    assert told.value.failure.kind is Kind.INVALID_REQUEST
    assert not takes_form(exchange(CHAT, headers=[(b"content-type", BOUNDARY)]))
