"""What Amazon Bedrock's runtime has in common whatever a model speaks: frames, errors, signatures.

Frames: AWS SDKs, "Event stream encoding". Errors: Bedrock API reference, "Common errors" and each operation's own; the
name of an error stands in a header. Signatures: IAM user guide, "Create a signed AWS API request".

The secret of an access key is its id with `secret-of-` in front, so that a test needs to tell the vendor nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
import zlib
from typing import Final
from urllib.parse import quote, unquote

from gproxy.vendor.connection import Request
from gproxy.vendor.voice import encode

STREAM: Final = b"application/vnd.amazon.eventstream"
SECRET_PREFIX: Final = "secret-of-"  # noqa: S105 - a rule for tests, no secret

_MISSING: Final = "Missing Authentication Token"
_UNKNOWN: Final = "The security token included in the request is invalid."
_UNSIGNED: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_BAD_KEY: Final = "Authentication failed: Please make sure your API Key is valid."
_NAMES: Final = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_NAMES_BY_TEXT: Final = {
    _MISSING: "MissingAuthenticationTokenException",
    _UNKNOWN: "UnrecognizedClientException",
    _UNSIGNED: "InvalidSignatureException",
}
_SIGNED: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of an event stream; all its headers are texts."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(kind: str, payload: bytes) -> bytes:
    """An event of a stream."""
    return message({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(status: int, code: str | None, text: str) -> bytes:
    """A failure in a stream. Its name begins with a small letter, since it is a member of the stream's union."""
    name = code or _NAMES.get(status, "InternalServerException")
    name = name[:1].lower() + name[1:]
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, encode({"message": text}))


def error(status: int, code: str | None, text: str, param: str | None, number: int) -> bytes:  # noqa: ARG001 - the shape of every voice
    """An error's body. A refused API key is written with a capital, as the gateway in front of Bedrock does."""
    return encode({"Message": text} if text == _BAD_KEY else {"message": text})


def error_headers(status: int, code: str | None, text: str) -> list[tuple[bytes, bytes]]:
    """Where an error's name stands, with the address that AWS puts behind it."""
    name = code or _NAMES_BY_TEXT.get(text) or _NAMES.get(status, "InternalServerException")
    return [(b"x-amzn-errortype", name.encode("latin-1", "replace") + b":http://internal.amazon.com/coral/bedrock/")]


def headers(number: int) -> list[tuple[bytes, bytes]]:
    """The request id."""
    return [(b"x-amzn-requestid", b"00000000-0000-4000-8000-%012d" % number)]


def refusal(request: Request) -> tuple[int, str, None] | None:
    """What is wrong with how a request proves itself; None when nothing is."""
    said = request.headers.get(b"authorization", b"").decode("latin-1")
    if said[:7].lower() == "bearer ":
        return (403, _BAD_KEY, None) if said[7:].startswith("bad") else None
    found = _SIGNED.fullmatch(said)
    if found is None:
        return 403, _MISSING, None
    if found[1].startswith("bad"):
        return 403, _UNKNOWN, None
    return None if hmac.compare_digest(_signature(request, found), found[6]) else (403, _UNSIGNED, None)


def access_key(authorization: bytes) -> str | None:
    """The id of the key that signed a request."""
    found = _SIGNED.fullmatch(authorization.decode("latin-1"))
    return None if found is None else found[1]


def _signature(request: Request, found: re.Match[str]) -> str:
    key_id, day, region, service, names, _ = found.groups()
    stamp = request.headers.get(b"x-amz-date", b"").decode("latin-1")
    lines = [request.method, quote(request.path, safe="/-_.~"), _query(request.query)]
    lines += [f"{name}:{_folded(request.headers.get(name.encode(), b''))}" for name in names.split(";")]
    lines += ["", names, hashlib.sha256(request.body).hexdigest()]
    scope = f"{day}/{region}/{service}/aws4_request"
    digest = hashlib.sha256("\n".join(lines).encode("latin-1")).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{SECRET_PREFIX}{key_id}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode("latin-1"), hashlib.sha256).hexdigest()


def _folded(value: bytes) -> str:
    return " ".join(value.decode("latin-1").split())


def _query(query: str) -> str:
    pairs = (pair.partition("=")[::2] for pair in query.split("&") if pair)
    encoded = sorted((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)
