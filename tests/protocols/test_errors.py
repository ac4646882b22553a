"""Errors: every recorded one is read, ours are what the official SDKs expect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.failure import VendorError
from gproxy.errors import Failure, Kind
from gproxy.protocols import complaints
from gproxy.protocols.anthropic_messages import errors as anthropic
from gproxy.protocols.gemini import errors as gemini
from gproxy.protocols.openai_chat import errors as chat
from gproxy.protocols.openai_responses import errors as responses
from gproxy.wire.sse import Decoder
from tests.protocols.recorded import exchanges

FOLDERS = [
    "openai-chat",
    "openai-compat",
    "openai-responses",
    "anthropic-messages",
    "gemini",
    "embeddings",
    "count-tokens",
    "models-list",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_recorded_error_has_its_text(folder: str) -> None:
    for case in exchanges(folder):
        if case.status == 200:
            continue
        read = complaints.read(case.response)
        assert not read.message.startswith("the vendor answered"), case.name
        body = json.loads(case.response)
        error = body.get("error") if isinstance(body, dict) else None
        if isinstance(error, dict):
            assert read.message.startswith(error["message"]), case.name
            if error.get("code") is not None:
                assert read.code == str(error["code"]), case.name


SHAPES: list[tuple[bytes, VendorError]] = [
    (b'{"error":{"message":"m","type":"t","code":"c","param":"p"}}', VendorError("m", "t", "c", "p")),
    (b'{"error":{"message":"m","type":null,"code":429}}', VendorError("m", None, "429", None, 429)),
    (b'{"error":"m"}', VendorError("m")),
    (b'{"code":"x","error":"m"}', VendorError("m", None, "x")),
    (b'{"detail":"m"}', VendorError("m")),
    (b'{"detail":[{"loc":["body"],"msg":"a"},{"msg":"b"}]}', VendorError("a; b")),
    (b'{"message":"m"}', VendorError("m")),
    (
        b'{"object":"error","message":"m","type":"invalid_model","code":"1500"}',
        VendorError("m", "invalid_model", "1500"),
    ),
    (
        b'[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"29.5s"}]}}]',
        VendorError("m", "RESOURCE_EXHAUSTED", "429", None, 429, 29.5),
    ),
    (
        b'{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\\"error\\":{\\"message\\":\\"in\\"}}"}}}',
        VendorError("Provider returned error: in", None, "400", None, 400),
    ),
    (b"upstream connect error", VendorError("upstream connect error")),
    (b'{"error":{"type":"overloaded_error"}}', VendorError("overloaded_error", "overloaded_error")),
]


@pytest.mark.parametrize(("body", "expected"), SHAPES)
def test_shapes(body: bytes, expected: VendorError) -> None:
    assert complaints.read(body) == expected


@pytest.mark.parametrize(
    "body", [b"", b"<html><body>502</body></html>", b"{}", b"[]", b"null", b"\xff\xfe", b'{"error":{}}', b"[" * 100_000]
)
def test_unreadable_errors_still_say_something(body: bytes) -> None:
    assert complaints.read(body).message


@pytest.mark.parametrize("value", [{"choices": []}, {}, None, 5, [], {"error": None}])
def test_what_is_no_complaint(value: Any) -> None:
    assert complaints.of_value(value) is None


def one(stream: bytes) -> tuple[str, Any]:
    (event,) = Decoder().feed(stream)
    return event.name, json.loads(event.data)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_drawn_in_every_dialect(kind: Kind) -> None:
    failure = Failure(kind, 'say "why"', param="messages[0]")
    said = json.loads(chat.render(failure))["error"]
    assert (said["message"], said["code"], said["param"]) == ('say "why"', kind.value, "messages[0]")
    assert said["type"]
    assert one(chat.stream_error(failure)) == ("", {"error": said})
    assert json.loads(responses.render(failure))["error"] == said
    name, event = one(responses.stream_error(failure, sequence_number=7))
    assert (name, event["type"], event["sequence_number"], event["error"]) == ("error", "error", 7, said)
    said = json.loads(anthropic.render(failure, request_id="r"))
    assert (said["type"], said["request_id"], said["error"]["code"]) == ("error", "r", kind.value)
    assert said["error"]["type"].endswith(("_error", "_too_large"))
    assert one(anthropic.stream_error(failure))[0] == "error"
    said = json.loads(gemini.render(failure))["error"]
    assert (said["code"], said["details"][0]["reason"]) == (failure.status, kind.value)
    assert one(gemini.stream_error(failure)) == ("", {"error": said})
    assert json.loads(b"[{}" + gemini.stream_error(failure, array=True))[1] == {"error": said}


def test_a_vendors_names_are_kept_when_its_answer_is_passed_on() -> None:
    failure = Failure(Kind.UPSTREAM_ERROR, "too long", upstream_status=400)
    vendor = VendorError("too long", "invalid_request_error", "context_length_exceeded", "messages")
    said = json.loads(chat.render(failure, vendor=vendor))["error"]
    assert said == {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    assert json.loads(anthropic.render(failure, vendor=vendor))["error"]["type"] == "invalid_request_error"
    assert json.loads(gemini.render(failure, vendor=vendor))["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("render", [chat.render, anthropic.render, responses.render, gemini.render])
def test_what_is_drawn_is_read_back(render: Any) -> None:
    assert complaints.read(render(Failure(Kind.RATE_LIMITED, "slow down"))).message == "slow down"


def test_google_says_when_to_come_back() -> None:
    assert gemini.decode(gemini.render(Failure(Kind.RATE_LIMITED, "m", retry_after=2.5))).retry_after == 2.5
