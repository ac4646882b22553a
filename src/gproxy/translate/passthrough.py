"""Same dialect on both sides: the bytes go through as they are, and a tap reads usage and model on the way.

Three things are changed, each only when it must be: the model's name in the request when an alias, a prefix or
a route led here; the same name in the answer, so that it echoes what the client sent; and in OpenAI chat streams
the usage frame is asked for when the client did not, and then kept from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gproxy.canonical.failure import VendorError
from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.errors import Failure
from gproxy.protocols.openai_chat import errors as openai_chat_errors
from gproxy.protocols.openai_chat import tap as openai_chat_tap
from gproxy.protocols.openai_chat import usage as openai_chat_usage
from gproxy.protocols.tap import SseTap
from gproxy.translate.translator import Names
from gproxy.wire.json import JsonProblem, fields, patch

BYTES_PER_TOKEN: Final = 4
"""For estimates where a vendor reports nothing: what tokenizers make of English text, on average."""


@dataclass(frozen=True, slots=True)
class Voice:
    """What passthrough needs of a dialect."""

    tap: Callable[..., SseTap]
    usage_of_body: Callable[[bytes], tuple[Usage, str | None]]
    echo_model: Callable[[bytes, str], bytes]
    stream_error: Callable[[Failure], bytes]
    decode_error: Callable[[bytes], VendorError]
    keep_alive: bytes
    substance: tuple[str, ...]
    """Fields one of which every good answer has."""
    asks_usage: bool = False


VOICES: Final[Mapping[Dialect, Voice]] = {
    Dialect.OPENAI_CHAT: Voice(
        tap=openai_chat_tap.StreamTap,
        usage_of_body=openai_chat_usage.usage_of_body,
        echo_model=openai_chat_tap.echo_model,
        stream_error=openai_chat_errors.stream_error,
        decode_error=openai_chat_errors.decode,
        keep_alive=b": keep-alive\n\n",
        substance=("choices",),
        asks_usage=True,
    ),
}


class Passthrough:
    """A `Translator` between a dialect and itself."""

    __slots__ = ("_body_bytes", "_body_model", "_body_usage", "_hide", "_names", "_renames", "_tap", "_voice", "_whole")

    def __init__(
        self,
        dialect: Dialect,
        names: Names,
        *,
        streams: bool,
        include_usage: bool | None,
        vendor_reports_unasked: bool = False,
    ) -> None:
        """`include_usage` is what the client's body says about it; None when it says nothing.

        `vendor_reports_unasked`: the vendor refuses to be asked and reports usage anyway.
        """
        voice = VOICES[dialect]
        self._voice = voice
        self._names = names
        self._renames = names.differ
        self._hide = streams and voice.asks_usage and not include_usage and not vendor_reports_unasked
        self._tap = voice.tap(
            hide_usage_chunk=self._hide, model_override=names.asked.encode() if names.differ else None
        )
        self._body_usage: Usage = UNKNOWN
        self._body_bytes = 0
        self._body_model: str | None = None
        self._whole = False

    def request(self, body: bytes) -> bytes:
        """The client's own bytes, but for the model's name and the request for usage. Raises `JsonProblem`."""
        edits: dict[Any, Any] = {}
        if self._renames:
            edits["model"] = self._names.upstream
        if self._hide:
            edits["stream_options", "include_usage"] = True
        return patch(body, edits) if edits else body

    def decode_error(self, body: bytes) -> VendorError:
        """A vendor's error body taken apart; never fails."""
        return self._voice.decode_error(body)

    def complaint(self, body: bytes) -> VendorError | None:
        """What is wrong with a body that came with a good status: an error in disguise, or no answer at all."""
        try:
            found = fields(body, "error", *self._voice.substance)
        except JsonProblem:
            return VendorError("the vendor's answer could not be read", code="unreadable")
        if found.get("error") and not any(found.get(name) for name in self._voice.substance):
            return self._voice.decode_error(body)
        return None

    def answer(self, body: bytes) -> bytes:
        """The vendor's own bytes, but for the model's name; reads usage from them.

        Raises `JsonProblem` when the answer is none of this dialect.
        """
        self._body_bytes = len(body)
        self._body_usage, self._body_model = self._voice.usage_of_body(body)
        self._whole = True
        return self._voice.echo_model(body, self._names.asked) if self._renames and self._body_model else body

    def feed(self, chunk: bytes) -> bytes:
        """Pass a chunk on."""
        return self._tap.feed(chunk)

    def end(self) -> bytes:
        """What was held back at the end of the upstream's stream."""
        return self._tap.end()

    def cut(self, failure: Failure) -> bytes:
        """The dialect's error event; nothing when the vendor's own has already gone through."""
        if self._tap.error is not None or self._tap.finished:
            return b""
        # In the middle of an event the blank line closes it, so that the error is not taken for a part of it.
        opening = b"" if self._tap.between_frames else b"\n\n"
        return opening + self._voice.stream_error(failure)

    def keep_alive(self) -> bytes:
        """A comment that readers skip; only between events."""
        return self._voice.keep_alive if self._tap.between_frames else b""

    @property
    def usage(self) -> Usage:
        """The vendor's figures so far."""
        return self._body_usage if self._whole else self._tap.usage

    @property
    def model(self) -> str | None:
        """The model the vendor says it served."""
        return self._body_model if self._whole else self._tap.model

    @property
    def finished(self) -> bool:
        """Whether the answer reached its end."""
        return self._whole or self._tap.finished

    @property
    def failed(self) -> bool:
        """Whether the vendor itself put an error into the stream."""
        return self._tap.error is not None

    @property
    def produced(self) -> int:
        """Output tokens seen so far, estimated from the bytes of text."""
        size = self._body_bytes if self._whole else self._tap.text_bytes
        return -(-size // BYTES_PER_TOKEN)
