"""Reading Bedrock's complaints: bodies of refused requests, and exceptions in the middle of a stream.

A body is `{"message": "…"}`; what went wrong is named in the header `x-amzn-errortype`, which the channel knows of,
and by some services in `__type`. In a stream an exception is a message of its own that says its name in a header.
"""

from __future__ import annotations

from typing import Any, Final

from gproxy.canonical.failure import VendorError
from gproxy.protocols import complaints
from gproxy.protocols.figures import count, part_of
from gproxy.wire.json import JsonProblem, loads_lenient

_STATUSES: Final = {
    # Bedrock API reference, "ConverseStream", Errors.
    "internalServerException": 500,
    "modelStreamErrorException": 424,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}


def decode(body: bytes) -> VendorError:
    """A vendor's error body taken apart; never fails."""
    try:
        value = loads_lenient(body)
    except JsonProblem:
        return complaints.read(body)
    name = _name(part_of(value, "__type")) or _name(part_of(part_of(value, "Output"), "__type"))
    found = complaints.of_value(value)
    if found is None:
        return VendorError(name, code=name) if name else complaints.read(body)
    return VendorError(found.message, found.type, found.code or name, found.param, found.status, found.retry_after)


def of_exception(name: str, body: dict[str, Any]) -> VendorError:
    """An exception in a stream: its name, and the fields of its payload.

    A model's own failure comes with the status and the text that the model answered; those say more.
    """
    said = next((text for text in (body.get("originalMessage"), body.get("message")) if isinstance(text, str)), "")
    status = count(body.get("originalStatusCode"))
    return VendorError(said or name, code=name, status=status if status and status >= 400 else _status(name))


def _status(name: str) -> int | None:
    # The same failure begins with a capital where it is an answer's own.
    return _STATUSES.get(name[:1].lower() + name[1:])


def _name(kind: Any) -> str | None:
    """`com.amazon.coral.service#UnknownOperationException` without where it comes from."""
    return kind.rpartition("#")[2] or None if isinstance(kind, str) else None
