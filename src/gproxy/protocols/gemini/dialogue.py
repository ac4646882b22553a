"""Gemini generateContent. Streams are read in both of their forms and written as server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gproxy.canonical.operation import Dialect
from gproxy.protocols.assembly import Assembler
from gproxy.protocols.base import Dialogue
from gproxy.protocols.gemini import errors, request, response
from gproxy.protocols.gemini.encoder import Encoder
from gproxy.protocols.gemini.stream import Decoder

if TYPE_CHECKING:
    from gproxy.canonical.response import Response


def _decode_response(body: bytes) -> Response:
    """Read an upstream's whole answer, or a whole stream that came as a JSON array."""
    if body.lstrip()[:1] != b"[":
        return response.decode(body)
    decoder, assembler = Decoder(), Assembler()
    for event in (*decoder.feed(body), *decoder.end()):
        assembler.take(event)
    return assembler.response()


PROTOCOL: Final = Dialogue(
    dialect=Dialect.GEMINI,
    decode_request=request.decode,
    encode_request=request.encode,
    decode_response=_decode_response,
    encode_response=response.encode,
    stream_decoder=Decoder,
    stream_encoder=Encoder,
    decode_error=errors.decode,
    encode_error=errors.render,
)
