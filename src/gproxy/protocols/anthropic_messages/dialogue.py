"""Anthropic Messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gproxy.canonical.operation import Dialect
from gproxy.protocols.anthropic_messages import errors, request, response, tap, usage
from gproxy.protocols.anthropic_messages.stream import Decoder, Encoder

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.canonical.loss import Losses
    from gproxy.canonical.request import Request
    from gproxy.canonical.response import Response
    from gproxy.canonical.usage import Usage
    from gproxy.errors import Failure
    from gproxy.protocols.base import ReplyFacts


class AnthropicMessages:
    """See `protocols.base.Dialogue`."""

    dialect = Dialect.ANTHROPIC_MESSAGES
    stream_content_type = b"text/event-stream"

    def decode_request(self, body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
        """Read a client's request."""
        return request.decode(body, model=model, stream=stream)

    def encode_request(self, request_: Request, losses: Losses) -> bytes:
        """Write a request for an upstream."""
        return request.encode(request_, losses)

    def decode_response(self, body: bytes) -> Response:
        """Read an upstream's whole answer."""
        return response.decode(body)

    def encode_response(self, response_: Response, facts: ReplyFacts, losses: Losses) -> bytes:
        """Write a whole answer for a client."""
        return response.encode(response_, facts, losses)

    def stream_decoder(self) -> Decoder:
        """A fresh reader of one upstream stream."""
        return Decoder()

    def stream_encoder(self, facts: ReplyFacts, losses: Losses) -> Encoder:
        """A fresh writer of one client stream."""
        return Encoder(facts, losses)

    def stream_tap(self, *, hide_usage_chunk: bool = False, model_override: bytes | None = None) -> tap.StreamTap:
        """A fresh tap on a same-dialect stream."""
        return tap.StreamTap(hide_usage_chunk=hide_usage_chunk, model_override=model_override)

    def usage_of_body(self, body: bytes) -> tuple[Usage, str | None]:
        """Usage and the vendor's model name from a whole answer."""
        return usage.usage_of_body(body)

    def echo_model(self, body: bytes, model: str) -> bytes:
        """A whole answer with only the model's name replaced."""
        return tap.echo_model(body, model)

    def decode_error(self, body: bytes) -> VendorError:
        """Read an upstream's error body."""
        return errors.decode(body)

    def encode_error(self, failure: Failure, *, vendor: VendorError | None = None) -> bytes:
        """Write an error body for a client."""
        return errors.render(failure, vendor=vendor)


PROTOCOL: Final = AnthropicMessages()
