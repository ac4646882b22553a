"""OpenAI Chat Completions: the reference for how a dialect's folder looks."""

from __future__ import annotations

from typing import Final

from gproxy.canonical.operation import Dialect
from gproxy.protocols.base import Dialogue
from gproxy.protocols.openai_chat import errors, request, response
from gproxy.protocols.openai_chat.stream import Decoder, Encoder

PROTOCOL: Final = Dialogue(
    dialect=Dialect.OPENAI_CHAT,
    decode_request=request.decode,
    encode_request=request.encode,
    decode_response=response.decode,
    encode_response=response.encode,
    stream_decoder=Decoder,
    stream_encoder=Encoder,
    decode_error=errors.decode,
    encode_error=errors.render,
)
