"""Bedrock's runtime as the vendor speaks it: frames with right checksums, signatures it really checks, refusals."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from gproxy.channels.auth.scheme import Draft
from gproxy.channels.auth.sigv4 import SCHEME
from gproxy.channels.vendor import AuthScheme
from gproxy.secret import Secret
from gproxy.vendor import aws
from gproxy.vendor.server import VendorServer
from gproxy.vendor.tally import Figures
from gproxy.wire.eventstream import Decoder, Message
from gproxy.wire.http import Header, Origin
from tests.vendor_selftest.wire import Heard, count_of, post, talk

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": "one two three"}]}]}
CLAUDE: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "one two"}],
}  # fmt: skip
ADD: dict[str, Any] = {"toolSpec": {"name": "add", "inputSchema": {"json": {"type": "object"}}}}
CALL: dict[str, Any] = {"toolUse": {"toolUseId": "t", "name": "add", "input": {}}}


async def called(vendor: VendorServer, verb: str, body: Any, model: str = "sim/tokens=4", **more: Any) -> Heard:
    return await talk(vendor, post(f"/model/{quote(model, safe='')}/{verb}", body, **more))


def messages(heard: Heard) -> list[Message]:
    decoder = Decoder()
    found = decoder.feed(heard.body)
    decoder.end()
    return found


async def test_converse_whole(vendor: VendorServer) -> None:
    heard = await called(vendor, "converse", HELLO, "sim/tokens=4,reasoning=2,cached=6,cache_write_1h=5")
    value = heard.json()
    kinds = [next(iter(block)) for block in value["output"]["message"]["content"]]
    assert kinds == ["reasoningContent", "text"]
    assert value["stopReason"] == "end_turn"
    assert value["usage"] == {
        "inputTokens": 3, "outputTokens": 6, "totalTokens": 20, "cacheReadInputTokens": 6, "cacheWriteInputTokens": 5,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 5}],
    }  # fmt: skip
    (counted,) = [one for one in count_of(vendor).attempts if one.dialect]
    assert (counted.dialect, counted.operation, counted.how) == ("bedrock_converse", "generate", "complete")
    assert counted.declared == Figures(input=3, output=6, cache_read=6, cache_write_1h=5, reasoning=2)


@pytest.mark.parametrize("split", ["event", "bytes:7", "random:3"])
async def test_converse_stream(vendor: VendorServer, split: str) -> None:
    body = {**HELLO, "toolConfig": {"tools": [ADD], "toolChoice": {"any": {}}}}
    heard = await called(vendor, "converse-stream", body, f"sim/tokens=4,tools=1,reasoning=1,split={split}")
    assert (b"content-type", b"application/vnd.amazon.eventstream") in heard.headers
    found = messages(heard)
    names = list(dict.fromkeys(one.text(":event-type") for one in found))
    assert names == [
        "messageStart", "contentBlockDelta", "contentBlockStop", "contentBlockStart", "messageStop", "metadata",
    ]  # fmt: skip
    assert {one.text(":message-type") for one in found} == {"event"}
    values = [json.loads(one.payload) for one in found]
    assert values[-2]["stopReason"] == "tool_use"
    assert values[-1]["usage"]["outputTokens"] == 7
    (counted,) = [one for one in count_of(vendor).attempts if one.dialect]
    assert (counted.how, counted.usage_sent, counted.tokens_sent) == ("complete", True, 7)


async def test_an_exception_in_the_stream(vendor: VendorServer) -> None:
    model = "sim/fail=error_mid,status=429,message=slow"
    last = messages(await called(vendor, "converse-stream", HELLO, model.replace("status=429,", "")))[-1]
    assert last.text(":exception-type") == "internalServerException"
    assert json.loads(last.payload) == {"message": "slow"}


async def test_claude_comes_in_the_same_frames(vendor: VendorServer) -> None:
    whole = (await called(vendor, "invoke", CLAUDE)).json()
    assert (whole["type"], whole["usage"]["output_tokens"]) == ("message", 4)
    found = messages(await called(vendor, "invoke-with-response-stream", CLAUDE))
    assert {one.text(":event-type") for one in found} == {"chunk"}
    values = [json.loads(base64.b64decode(json.loads(one.payload)["bytes"])) for one in found]
    assert [values[0]["type"], values[-1]["type"]] == ["message_start", "message_stop"]


@pytest.mark.parametrize(
    ("verb", "body", "says"),
    [
        ("converse", {}, "messages"),
        ("converse", {"messages": [{"role": "assistant", "content": [{"text": "a"}]}]}, "alternate"),
        ("converse", {"messages": [{"role": "user", "content": []}]}, "empty"),
        ("converse", {"messages": [{"role": "user", "content": [{"text": " "}]}]}, "blank"),
        ("converse", {"messages": [*HELLO["messages"], {"role": "assistant", "content": [CALL]}]}, "toolConfig"),
        (
            "converse",
            {"messages": [*HELLO["messages"], {"role": "assistant", "content": [CALL]}], "toolConfig": {"tools": [ADD]}},
            "nobody answered",
        ),
        (
            "converse",
            {"messages": [{"role": "user", "content": [{"toolResult": {"toolUseId": "x", "content": []}}]}],
             "toolConfig": {"tools": [ADD]}},
            "Expected toolResult",
        ),
        (
            "converse",
            {"messages": [{"role": "user", "content": [{"document": {"format": "pdf", "name": "a", "source": {"bytes": "YQ=="}}}]}]},
            "text block",
        ),
        ("converse", {**HELLO, "inferenceConfig": {"temperature": 2}}, "between 0 and 1"),
        ("converse", {**HELLO, "inferenceConfig": {"maxTokens": 0}}, "maxTokens"),
        ("converse-stream", {**HELLO, "toolConfig": {"tools": []}}, "at least one"),
        ("invoke", {**CLAUDE, "model": "m"}, "Extra inputs"),
        ("invoke", {"messages": []}, "anthropic_version"),
    ],
)  # fmt: skip
async def test_what_bedrock_refuses(vendor: VendorServer, verb: str, body: Any, says: str) -> None:
    heard = await called(vendor, verb, body)
    assert heard.status == 400
    assert says in heard.json()["message"]
    assert dict(heard.headers)[b"x-amzn-errortype"].startswith(b"ValidationException:")


def signed(path: str, body: bytes, origin: Origin, *, secret: str) -> Sequence[Header]:
    headers: list[Header] = [(b"content-type", b"application/json")]
    draft = Draft(b"POST", origin, path.encode(), b"", headers, body)
    fields = {"access_key_id": Secret("AKIAONE"), "secret_access_key": Secret(secret)}
    scheme = AuthScheme("sigv4", (("region", "us-east-1"), ("service", "bedrock")))
    SCHEME.sign(draft, scheme, fields, 1_790_000_000_000_000, None)
    return draft.headers


@pytest.mark.parametrize(
    ("secret", "status"), [(aws.SECRET_PREFIX + "AKIAONE", 200), ("another", 403)], ids=["right", "wrong"]
)
async def test_signatures_are_checked(vendor: VendorServer, secret: str, status: int) -> None:
    path = f"/model/{quote('us.amazon.nova-2-lite-v1:0', safe='')}/converse"
    body, origin = json.dumps(HELLO).encode(), Origin("http", "127.0.0.1", vendor.port)
    lines = [b"POST %b HTTP/1.1" % path.encode(), b"host: " + origin.host_header, b"content-length: %d" % len(body)]
    lines += [name + b": " + value for name, value in signed(path, body, origin, secret=secret)]
    heard = await talk(vendor, b"\r\n".join(lines) + b"\r\n\r\n" + body)
    assert heard.status == status
    if status == 403:
        assert dict(heard.headers)[b"x-amzn-errortype"].startswith(b"InvalidSignatureException:")


@pytest.mark.parametrize(
    ("key", "name", "says"),
    [
        ("bad-key", b"AccessDeniedException", "Authentication failed"),
        ("forbidden-key", b"AccessDeniedException", "may not"),
    ],
)
async def test_keys_it_does_not_take(vendor: VendorServer, key: str, name: bytes, says: str) -> None:
    heard = await called(vendor, "converse", HELLO, key=key)
    assert heard.status == 403
    assert dict(heard.headers)[b"x-amzn-errortype"].startswith(name + b":")
    assert says in next(iter(heard.json().values()))
