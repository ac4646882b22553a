"""Amazon Bedrock's Converse. No client speaks it, so it reads no requests and writes no answers."""

from __future__ import annotations

from typing import Final

from gproxy.canonical.operation import Dialect
from gproxy.protocols.base import Outbound
from gproxy.protocols.bedrock_converse import errors, request, response
from gproxy.protocols.bedrock_converse.stream import Decoder

PROTOCOL: Final = Outbound(
    dialect=Dialect.BEDROCK_CONVERSE,
    encode_request=request.encode,
    decode_response=response.decode,
    stream_decoder=Decoder,
    decode_error=errors.decode,
)
