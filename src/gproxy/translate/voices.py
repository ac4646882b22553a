"""What passthrough needs of each dialect: how to watch it, how to echo a name, how to end a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gproxy.canonical.failure import VendorError
from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure
from gproxy.protocols import media
from gproxy.protocols.anthropic_messages import errors as anthropic_errors
from gproxy.protocols.anthropic_messages import tap as anthropic_tap
from gproxy.protocols.anthropic_messages import usage as anthropic_usage
from gproxy.protocols.gemini import errors as gemini_errors
from gproxy.protocols.gemini import tap as gemini_tap
from gproxy.protocols.gemini import usage as gemini_usage
from gproxy.protocols.openai_chat import errors as openai_chat_errors
from gproxy.protocols.openai_chat import tap as openai_chat_tap
from gproxy.protocols.openai_chat import usage as openai_chat_usage
from gproxy.protocols.openai_responses import errors as openai_responses_errors
from gproxy.protocols.openai_responses import tap as openai_responses_tap
from gproxy.protocols.openai_responses import usage as openai_responses_usage


class Tap(Protocol):
    """See `protocols.tap.SseTap`."""

    @property
    def usage(self) -> Usage: ...  # noqa: D102 - see SseTap
    @property
    def begun(self) -> bool: ...  # noqa: D102
    @property
    def model(self) -> str | None: ...  # noqa: D102
    @property
    def finished(self) -> bool: ...  # noqa: D102
    @property
    def error(self) -> VendorError | None: ...  # noqa: D102
    @property
    def text_bytes(self) -> int: ...  # noqa: D102
    @property
    def between_frames(self) -> bool: ...  # noqa: D102
    def feed(self, chunk: bytes) -> bytes: ...  # noqa: D102
    def end(self) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Voice:
    """What passthrough needs of a dialect."""

    tap: Callable[..., Tap]
    usage_of_body: Callable[[bytes], tuple[Usage, str | None]]
    echo_model: Callable[[bytes, str], bytes]
    stream_error: Callable[[Failure], bytes]
    decode_error: Callable[[bytes], VendorError]
    keep_alive: bytes
    substance: tuple[str, ...]
    """Fields one of which every good answer has; none where answers need not be JSON."""
    asks_usage: bool = False
    """Whether usage in a stream must be asked for."""
    names_model: bool = True
    """Whether a request's body names the model (Gemini's path does)."""
    produces: bool = True
    """Whether what is not reported is estimated from the answer's size (an embedding's is no measure)."""


def _as_it_is(body: bytes, _model: str) -> bytes:
    return body


_COMMENT: Final = b": keep-alive\n\n"

_CHAT: Final[dict[str, Any]] = {
    "tap": openai_chat_tap.StreamTap,
    "usage_of_body": openai_chat_usage.usage_of_body,
    "echo_model": openai_chat_tap.echo_model,
    "stream_error": openai_chat_errors.stream_error,
    "decode_error": openai_chat_errors.decode,
    "keep_alive": _COMMENT,
}

VOICES: Final[Mapping[Dialect, Voice]] = {
    Dialect.OPENAI_CHAT: Voice(**_CHAT, substance=("choices",), asks_usage=True),
    Dialect.OPENAI_RESPONSES: Voice(
        tap=openai_responses_tap.StreamTap,
        usage_of_body=openai_responses_usage.usage_of_body,
        echo_model=openai_responses_tap.echo_model,
        stream_error=openai_responses_errors.stream_error,
        decode_error=openai_responses_errors.decode,
        keep_alive=_COMMENT,
        substance=("output", "input_tokens"),
    ),
    Dialect.ANTHROPIC_MESSAGES: Voice(
        tap=anthropic_tap.StreamTap,
        usage_of_body=anthropic_usage.usage_of_body,
        echo_model=anthropic_tap.echo_model,
        stream_error=anthropic_errors.stream_error,
        decode_error=anthropic_errors.decode,
        keep_alive=b'event: ping\ndata: {"type": "ping"}\n\n',
        substance=("content", "input_tokens"),
    ),
    Dialect.GEMINI: Voice(
        tap=gemini_tap.StreamTap,
        usage_of_body=gemini_usage.usage_of_body,
        echo_model=gemini_tap.echo_model,
        stream_error=gemini_errors.stream_error,
        decode_error=gemini_errors.decode,
        # Google's own SDKs read a comment as data; an empty line means nothing in both forms of the stream.
        keep_alive=b"\r\n",
        substance=("candidates", "promptFeedback", "totalTokens", "embedding", "embeddings"),
        names_model=False,
    ),
    Dialect.OPENAI_COMPLETIONS: Voice(**_CHAT, substance=("choices",), asks_usage=True),
    Dialect.OPENAI_EMBEDDINGS: Voice(**_CHAT, substance=("data",), produces=False),
    Dialect.OPENAI_MODERATIONS: Voice(**_CHAT, substance=("results",), produces=False),
    Dialect.RERANK: Voice(
        **{**_CHAT, "usage_of_body": media.usage_of_rerank}, substance=("results", "data"), produces=False
    ),
    Dialect.OPENAI_IMAGES: Voice(
        **{**_CHAT, "tap": media.StreamTap, "usage_of_body": media.usage_of_body, "echo_model": _as_it_is},
        substance=("data",),
        produces=False,
    ),
    Dialect.OPENAI_AUDIO: Voice(
        **{**_CHAT, "tap": media.StreamTap, "usage_of_body": media.usage_of_body, "echo_model": _as_it_is},
        substance=(),
        produces=False,
    ),
}
