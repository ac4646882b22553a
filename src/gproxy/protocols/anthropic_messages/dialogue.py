"""Anthropic Messages."""

from __future__ import annotations

from typing import Final

from gproxy.canonical.operation import Dialect
from gproxy.protocols.anthropic_messages import errors, request, response
from gproxy.protocols.anthropic_messages.stream import Decoder, Encoder
from gproxy.protocols.base import Dialogue

PROTOCOL: Final = Dialogue(
    dialect=Dialect.ANTHROPIC_MESSAGES,
    decode_request=request.decode,
    encode_request=request.encode,
    decode_response=response.decode,
    encode_response=response.encode,
    stream_decoder=Decoder,
    stream_encoder=Encoder,
    decode_error=errors.decode,
    encode_error=errors.render,
)
