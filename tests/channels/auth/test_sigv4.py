"""AWS's published vectors, and signatures botocore made for the requests this product sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gproxy.channels.auth.scheme import Draft
from gproxy.channels.auth.sigv4 import SCHEME, signature
from gproxy.channels.vendor import AuthScheme
from gproxy.secret import Secret
from gproxy.wire.http import Header, Origin

FIELDS = {
    "access_key_id": Secret("AKIDEXAMPLE"),
    "secret_access_key": Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
}
SERVICE = AuthScheme("sigv4", (("region", "us-east-1"), ("service", "service")))
AT_US = int(datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC).timestamp()) * 1_000_000


def signed(method: str, path: str, query: str, headers: list[Header], body: bytes = b"") -> dict[bytes, bytes]:
    draft = Draft(
        method.encode(),
        Origin("https", "example.amazonaws.com", 443),
        path.encode(),
        query.encode(),
        list(headers),
        body,
    )
    SCHEME.sign(draft, SERVICE, FIELDS, AT_US, None)
    return dict(draft.headers)


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "expected"),
    [
        ("GET", "/", "", [], b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "", [], b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            [],
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/",
            "",
            [(b"my-header1", b" value1"), (b"my-header2", b' "a   b   c"')],
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "POST",
            "/",
            "",
            [(b"content-type", b"application/x-www-form-urlencoded")],
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
    ids=["get-vanilla", "post-vanilla", "query-order", "header-value-trim", "form"],
)
def test_published_vectors(
    method: str, path: str, query: str, headers: list[Header], body: bytes, expected: str
) -> None:
    got = signed(method, path, query, headers, body)
    assert got[b"authorization"].decode().endswith(f"Signature={expected}")
    assert b"Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request" in got[b"authorization"]


def test_the_documented_signing_example() -> None:
    canonical = (
        "GET\n/\nAction=ListUsers&Version=2010-05-08\n"
        "content-type:application/x-www-form-urlencoded; charset=utf-8\nhost:iam.amazonaws.com\n"
        "x-amz-date:20150830T123600Z\n\ncontent-type;host;x-amz-date\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    scope, hexed = signature(FIELDS["secret_access_key"].reveal(), "20150830T123600Z", "us-east-1", "iam", canonical)
    assert scope == "20150830/us-east-1/iam/aws4_request"
    assert hexed == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


BOTOCORE = json.loads((Path(__file__).parent / "sigv4_botocore.json").read_text())


@pytest.mark.parametrize("case", BOTOCORE, ids=[case["name"] for case in BOTOCORE])
def test_agrees_with_botocore(case: dict[str, str]) -> None:
    fields = {
        name: Secret(case[name]) for name in ("access_key_id", "secret_access_key", "session_token") if case.get(name)
    }
    draft = Draft(
        case["method"].encode(),
        Origin("https", case["host"], 443),
        case["path"].encode(),
        case["query"].encode(),
        [(b"content-type", b"application/json"), (b"accept", b"*/*"), (b"user-agent", b"anything")],
        case["body"].encode(),
    )
    scheme = AuthScheme("sigv4", (("region", case["region"]), ("service", "bedrock")))
    SCHEME.sign(draft, scheme, fields, int(case["now_us"]), None)
    assert dict(draft.headers)[b"authorization"].decode() == case["authorization"]


def test_a_bedrock_key_is_a_bearer() -> None:
    draft = Draft(b"POST", Origin("https", "h", 443), b"/", b"", [], b"")
    SCHEME.sign(draft, SERVICE, {"api_key": Secret("ABSK-1")}, AT_US, None)
    assert draft.headers == [(b"authorization", b"Bearer ABSK-1")]
