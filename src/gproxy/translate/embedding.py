"""Embeddings for a client of the one shape from a vendor of the other. Both answer whole; there is no stream.

Gemini upstreams are always asked in their batch form, which is the same for one text and for many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gproxy.canonical.failure import VendorError
from gproxy.canonical.loss import Losses, LossPolicy
from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.errors import Failure, Refused
from gproxy.protocols.embeddings import gemini, openai
from gproxy.protocols.embeddings.neutral import Embeddings
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.hub import forbidden
from gproxy.translate.translator import BYTES_PER_TOKEN, Names, Whole, unreadable
from gproxy.wire.json import JsonProblem, hides

_ERRORS: Final = {Dialect.OPENAI_EMBEDDINGS: Dialect.OPENAI_CHAT, Dialect.GEMINI: Dialect.GEMINI}
"""Whose errors a shape has."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two shapes of one attempt. `batch`: a Gemini client asked for several at once."""

    dialect: Dialect
    dialect_out: Dialect
    names: Names
    loss: LossPolicy
    batch: bool = False


class Embed(Whole):
    """A `Translator` between the two shapes of embeddings."""

    __slots__ = ("_asked", "_base64", "_found", "_losses", "_pair", "_size", "model", "usage")

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._losses = Losses()
        self._base64 = False
        self._asked = 0
        self._size = 0
        self._found: Embeddings | None = None
        self.usage: Usage = UNKNOWN
        self.model: str | None = None

    @property
    def dialect_out(self) -> Dialect:
        """The upstream's shape."""
        return self._pair.dialect_out

    @property
    def loss_header(self) -> str:
        """What could not be carried, unless the provider's setting is to say nothing."""
        return "" if self._pair.loss is LossPolicy.ALLOW else self._losses.header()

    def request(self, body: bytes) -> bytes:
        """The texts in the upstream's words. Raises `JsonProblem`, or `Refused` when losses are forbidden."""
        pair = self._pair
        if pair.dialect is Dialect.GEMINI:
            asked = gemini.decode_request(body, model=pair.names.upstream, batch=pair.batch)
        else:
            asked = replace(openai.decode_request(body), model=pair.names.upstream)
        self._base64, self._asked = asked.base64, len(asked.texts)
        self._size = sum(len(text.encode("utf-8", "replace")) for text in asked.texts)
        write = gemini.encode_request if pair.dialect_out is Dialect.GEMINI else openai.encode_request
        written = write(asked, self._losses)
        if pair.loss is LossPolicy.FORBID and self._losses:
            raise Refused(forbidden(self._losses.found[0], pair.dialect, pair.dialect_out))
        return written

    def decode_error(self, body: bytes) -> VendorError:
        """A vendor's error body taken apart; never fails."""
        return DIALOGUES[_ERRORS[self._pair.dialect_out]].decode_error(body)

    def encode_error(self, failure: Failure, error: VendorError) -> bytes | None:
        """A vendor's complaint in the client's shape; types and fields are the vendor's own and stay behind."""
        own = replace(error, type=None, param=None)
        return DIALOGUES[_ERRORS[self._pair.dialect]].encode_error(failure, vendor=own)

    def complaint(self, body: bytes) -> VendorError | None:
        """What is wrong with the answer; None when it holds a vector for every text."""
        read = gemini.decode_response if self._pair.dialect_out is Dialect.GEMINI else openai.decode_response
        try:
            found = read(body)
        except JsonProblem:
            if b'"error"' in body or hides(body, "error"):
                return self.decode_error(body)
            return unreadable()
        if len(found.vectors) != self._asked:
            text = f"the vendor answered {len(found.vectors)} vectors for {self._asked} texts"
            return unreadable(text)
        self._found, self.usage, self.model = found, found.usage, found.model
        return None

    def answer(self, body: bytes) -> bytes:
        """The vectors in the client's words. Raises `JsonProblem` for numbers that its packing cannot hold."""
        del body
        found, pair = self._found, self._pair
        assert found is not None
        if pair.dialect is Dialect.GEMINI:
            return gemini.encode_response(found, batch=pair.batch)
        if not found.usage.known:
            # This shape promises usage; the ledger makes its own estimate.
            found = replace(found, usage=Usage(input=-(-self._size // BYTES_PER_TOKEN), output=0))
        return openai.encode_response(found, pair.names.asked, base64=self._base64)
