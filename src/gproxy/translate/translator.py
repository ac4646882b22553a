"""What a road between two dialects looks like to the pipeline: a machine per attempt, fed bytes, returning bytes."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from gproxy.canonical.failure import VendorError
from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure

BYTES_PER_TOKEN: Final = 4
"""For estimates where a vendor reports nothing: what tokenizers make of English text, on average."""

FREE: Final = frozenset({Operation.COUNT_TOKENS})
"""Operations that use no tokens, whatever figures their answers hold."""


PAGES: Final = (b"text/html", b"application/xhtml")
"""What stands between a vendor and us says its errors in pages; no answer of a model is one."""


class Names(msgspec.Struct, frozen=True):
    """The model's names on both sides of one attempt. `asked` is what the client sent, `upstream` what the vendor is asked for."""

    asked: str
    upstream: str

    @property
    def differ(self) -> bool:
        """Whether the answer must be made to echo the client's name."""
        return self.asked != self.upstream


class Translator(Protocol):
    """One attempt's road. Made fresh for each attempt; never reused.

    request ─► begins ─► ( complaint ─► answer )  or  ( feed* ─► end ), with cut and keep_alive in between
    """

    @property
    def dialect_out(self) -> Dialect:
        """The upstream's dialect."""
        ...

    def request(self, body: bytes) -> bytes:
        """The body to send upstream. Raises `JsonProblem`, or `Refused` when it cannot be said in this dialect."""
        ...

    def begins(self, content_type: bytes) -> bool:
        """The head of a good answer is here; whether its body is to be relayed piece by piece."""
        ...

    @property
    def content_type(self) -> bytes | None:
        """What the client's head says of the body; None for what the upstream's says."""
        ...

    @property
    def loss_header(self) -> str:
        """What could not be carried, as far as known by now: a comma list of features, empty when nothing."""
        ...

    def decode_error(self, body: bytes) -> VendorError:
        """A vendor's error body taken apart; never fails."""
        ...

    def encode_error(self, failure: Failure, error: VendorError) -> bytes | None:
        """A vendor's complaint in the client's dialect; None when its own body can be passed on."""
        ...

    def complaint(self, body: bytes) -> VendorError | None:
        """What is wrong with a body that came with a good status; None when it is an answer."""
        ...

    def answer(self, body: bytes) -> bytes:
        """A whole buffered answer, for the client. Asked once, after `complaint`."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """A piece of an upstream stream; returns what may go to the client now, possibly nothing."""
        ...

    def end(self) -> bytes:
        """The upstream stream ended properly: what is still held back."""
        ...

    def cut(self, failure: Failure) -> bytes:
        """The stream cannot go on: the dialect's own error event and end, legal after what was sent so far."""
        ...

    def keep_alive(self) -> bytes:
        """Bytes that keep the client's connection warm; b"" in the middle of an event."""
        ...

    @property
    def usage(self) -> Usage:
        """The vendor's figures so far."""
        ...

    @property
    def model(self) -> str | None:
        """The model the vendor says it served."""
        ...

    @property
    def begun(self) -> bool:
        """Whether the stream has said something, and that was no error; comments and pings say nothing."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the answer reached its dialect's own end."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more is due to the client, be it finished or not."""
        ...

    @property
    def failed(self) -> bool:
        """Whether the vendor itself put an error into the stream."""
        ...

    @property
    def error(self) -> VendorError | None:
        """The error that the vendor put into the stream; None unless `failed`."""
        ...

    @property
    def produced(self) -> int:
        """An estimate, in tokens, of the output seen so far."""
        ...


class Whole:
    """The part of a `Translator` that is the same wherever every answer comes whole: nothing ever streams."""

    __slots__ = ()

    content_type: bytes | None = b"application/json"
    begun = ended = finished = True
    failed = False
    error: VendorError | None = None
    produced = 0
    """Neither a figure nor a vector is made of output tokens."""

    def begins(self, content_type: bytes) -> bool:
        """Never piece by piece."""
        del content_type
        return False

    def feed(self, chunk: bytes) -> bytes:
        """Not called."""
        return chunk

    def end(self) -> bytes:
        """Not called."""
        return b""

    def cut(self, failure: Failure) -> bytes:
        """Not called."""
        del failure
        return b""

    def keep_alive(self) -> bytes:
        """Nothing can stand before a whole answer."""
        return b""


def unreadable(text: str = "the vendor's answer could not be read") -> VendorError:
    """The complaint about a body that came with a good status and is no answer."""
    return VendorError(text, code="unreadable")
