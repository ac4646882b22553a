"""Histories that hold what this gateway lent a client for another vendor: no real server may be sent those.

A client that talked to a foreign vendor keeps its signatures, and the runs of its own tools, in fields of the
client's dialect (`protocols.signatures`). When the conversation goes on with a vendor of that very dialect, the
bytes cannot go through as they are: such a vendor refuses signatures and ids that it did not make.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import VENDOR_DIALECTS, Dialect, Operation
from gproxy.wire.json import JsonProblem

_MARK: Final = b'"gproxy'
_TAGGED: Final = re.compile(rb'(?<!\\)"gproxy(?:_|\.(?:next:|of:|(?:' + "|".join(VENDOR_DIALECTS).encode() + rb"):))")
# Gemini's field is one of bytes: what stands in it is base64 once more. The digits that a whole mark fixes.
_IN_BASE64: Final = tuple(b'"' + b64encode(mark)[:9] for mark in (b"gproxy.", b"~gproxy."))
_WRITTEN: Final = frozenset({Operation.GENERATE, Operation.STREAM})


def holds(body: bytes, dialect: Dialect) -> bool:
    """Whether a body may hold something lent; cheap, because every body is asked."""
    if dialect is Dialect.GEMINI:
        return any(mark in body for mark in _IN_BASE64)
    return _MARK in body and _TAGGED.search(body) is not None


def without(
    body: bytes, dialect: Dialect, operation: Operation, upstream: str, *, stream: bool, losses: Losses
) -> bytes:
    """The body written anew, without what was lent; as it is where this dialect's room cannot read it."""
    # Reading and writing dialects takes long to import; most gateways start without needing it.
    from gproxy.protocols.registry import DIALOGUES
    from gproxy.translate import counting

    if dialect not in DIALOGUES:
        return body
    try:
        if operation is Operation.COUNT_TOKENS and counting.can(dialect, dialect):
            return counting.asked(body, dialect, dialect, upstream, losses)
        if operation not in _WRITTEN:
            return body
        spoken = DIALOGUES[dialect]
        return spoken.encode_request(spoken.decode_request(body, model=upstream, stream=stream), losses)
    except JsonProblem:
        return body  # the vendor says what is wrong with it
