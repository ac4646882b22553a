"""Google's errors: what a body blames, and what a client is told."""

from __future__ import annotations

import json

import pytest
from google.genai import errors as sdk

from gproxy.canonical.failure import VendorError
from gproxy.errors import Failure, Kind
from gproxy.protocols.gemini.dialogue import PROTOCOL


def test_the_field_that_google_blames() -> None:
    violation = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": "contents[0].role"}],
    }
    body = {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": [{}, violation]}}
    for raw in (json.dumps(body), json.dumps([body])):
        found = PROTOCOL.decode_error(raw.encode())
        assert (found.message, found.param, found.status) == ("no", "contents[0].role", 400)


@pytest.mark.parametrize("body", [b"", b"<html>", b"5", b"[]", b'{"error":{"details":5}}', b'{"error":"x"}'])
def test_any_body_is_an_error(body: bytes) -> None:
    assert PROTOCOL.decode_error(body).message


def test_a_retry_is_a_duration_that_protobuf_reads() -> None:
    for seconds, expected in ((1.5, "1.5s"), (3600.0, "3600s"), (0.0001, "0s"), (12345678.0, "12345678s")):
        body = json.loads(PROTOCOL.encode_error(Failure(Kind.RATE_LIMITED, "slow", retry_after=seconds)))
        (retry,) = [d for d in body["error"]["details"] if d["@type"].endswith("RetryInfo")]
        assert retry["retryDelay"] == expected


def test_the_sdk_reads_ours_and_the_vendors() -> None:
    failure = Failure(Kind.INVALID_REQUEST, "bad", param="contents", upstream_status=400)
    raw = PROTOCOL.encode_error(failure, vendor=VendorError("bad", type="FAILED_PRECONDITION", code="odd"))
    error = sdk.ClientError(400, json.loads(raw))
    assert (error.code, error.status, error.message) == (400, "FAILED_PRECONDITION", "bad")
    details = json.loads(raw)["error"]["details"]
    assert details[0]["reason"] == "odd"
    assert details[1]["fieldViolations"] == [{"field": "contents", "description": "bad"}]
