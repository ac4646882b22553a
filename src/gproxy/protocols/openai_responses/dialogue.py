"""OpenAI Responses: a conversation as a list of items, some of which the vendor's own tools make."""

from __future__ import annotations

from typing import Final

from gproxy.canonical.operation import Dialect
from gproxy.protocols.base import Dialogue
from gproxy.protocols.openai_responses import errors, request, response, writing
from gproxy.protocols.openai_responses.stream import Decoder, Encoder

PROTOCOL: Final = Dialogue(
    dialect=Dialect.OPENAI_RESPONSES,
    decode_request=request.decode,
    encode_request=request.encode,
    decode_response=response.decode,
    encode_response=writing.encode,
    stream_decoder=Decoder,
    stream_encoder=Encoder,
    decode_error=errors.decode,
    encode_error=errors.render,
)
