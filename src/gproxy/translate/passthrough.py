"""Same dialect on both sides: the bytes go through as they are, and a tap reads usage and model on the way.

Five things are changed, each only when it must be: the model's name in the request when an alias, a prefix or
a route led here; the same name in the answer, so that it echoes what the client sent; and in OpenAI chat streams
the usage frame is asked for when the client did not, and then kept from it; and a history that holds what was lent for
another vendor is written anew without it (`lent`); and a vendor that cannot keep answers is not told to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from gproxy.canonical.failure import VendorError
from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.errors import Failure
from gproxy.protocols.gemini import errors as gemini_errors
from gproxy.protocols.gemini.tap import StreamTap as GeminiTap
from gproxy.protocols.openai_chat.tap import StreamTap as ChatTap
from gproxy.protocols.openai_responses.tap import StreamTap as ResponsesTap
from gproxy.translate import lent
from gproxy.translate.translator import BYTES_PER_TOKEN, FREE, PAGES, Names, unreadable
from gproxy.translate.voices import VOICES, Tap
from gproxy.wire.json import JsonProblem, dumps, fields, hides, loads, patch
from gproxy.wire.multipart import parse

_NOTHING_USED: Final = Usage(input=0, output=0)


class Passthrough:
    """A `Translator` between a dialect and itself."""

    __slots__ = (
        "_body_bytes",
        "_body_model",
        "_body_usage",
        "_closed",
        "_dialect",
        "_form",
        "_hide",
        "_keeps",
        "_losses",
        "_names",
        "_operation",
        "_page",
        "_read",
        "_renames",
        "_streams",
        "_tap",
        "_voice",
        "_whole",
        "on_response",
    )

    def __init__(
        self,
        dialect: Dialect,
        names: Names,
        *,
        streams: bool,
        include_usage: bool | None,
        vendor_reports_unasked: bool = False,
        operation: Operation = Operation.GENERATE,
        form: bytes | None = None,
        keeps: bool = True,
        choices: int = 1,
    ) -> None:
        """`include_usage` is what the client's body says about it; None when it says nothing.

        `vendor_reports_unasked`: the vendor refuses to be asked and reports usage anyway. `form`: the content type
        of a body that is a form. `keeps`: the vendor takes `store`; where not, it is not asked to keep anything.
        `choices`: how many answers are asked for.
        """
        voice = VOICES[dialect]
        self._voice = voice
        self._dialect = dialect
        self._form = form
        self._keeps = keeps
        self._operation = operation
        self._names = names
        self._streams = streams
        self._renames = names.differ
        self._hide = streams and voice.asks_usage and not include_usage and not vendor_reports_unasked
        if streams:
            override = names.asked.encode() if names.differ else None
            self._tap = voice.tap(hide_usage_chunk=self._hide, model_override=override)
            if choices > 1 and isinstance(self._tap, ChatTap):
                self._tap.several = True
        else:
            self._tap = _unfed(dialect)
        self._body_usage: Usage = UNKNOWN
        self._body_bytes = 0
        self._body_model: str | None = None
        self._read: tuple[Usage, str | None] | None = None
        self._closed = False
        self._page = False
        self._whole = False
        self._losses = Losses()
        self.on_response: Callable[[dict[str, Any]], None] | None = None
        """Told the object that ends a Responses stream, before its last bytes are passed on."""

    @property
    def dialect_out(self) -> Dialect:
        """The upstream's dialect."""
        return self._dialect

    def request(self, body: bytes) -> bytes:
        """The client's own bytes, but for the model's name and the request for usage. Raises `JsonProblem`."""
        edits: dict[Any, Any] = {}
        if self._form is not None:
            return parse(self._form, body).with_text("model", self._names.upstream) if self._renames else body
        if lent.holds(body, self._dialect):
            body = lent.without(
                body,
                self._dialect,
                self._operation,
                self._names.upstream,
                stream=self._streams,
                losses=self._losses,
            )
        if self._renames:
            if not self._voice.names_model:
                return _renamed_inside(body, self._names.upstream)
            edits["model"] = self._names.upstream
        if self._hide:
            edits["stream_options", "include_usage"] = True
        if not self._keeps and b'"store"' in body and fields(body, "store").get("store") is True:
            edits["store"] = False
        return patch(body, edits) if edits else body

    def begins(self, content_type: bytes) -> bool:
        """The answer's head is here; whether its body is passed on piece by piece."""
        self._page = content_type.lower().startswith(PAGES)
        if not self._streams:
            return False
        array = self._dialect is Dialect.GEMINI and content_type.startswith(b"application/json")
        return array or content_type.startswith(b"text/event-stream")

    @property
    def content_type(self) -> bytes | None:
        """The client gets the vendor's own."""
        return None

    @property
    def loss_header(self) -> str:
        """What was left out because it was lent for another vendor; nothing else is ever lost here."""
        return self._losses.header()

    def decode_error(self, body: bytes) -> VendorError:
        """A vendor's error body taken apart; never fails."""
        return self._voice.decode_error(body)

    def encode_error(self, failure: Failure, error: VendorError) -> bytes | None:
        """None: the vendor's own body is passed on as it is."""
        del failure, error
        return None

    def complaint(self, body: bytes) -> VendorError | None:
        """What is wrong with a body that came with a good status: an error in disguise, or no answer at all."""
        if self._page:
            return unreadable()
        if not self._voice.substance or (self._streams and body.lstrip()[:1] == b"["):
            return None
        try:
            self._read = self._voice.usage_of_body(body)  # for `answer`: a body is parsed once
            if b'"error"' not in body and not hides(body, "error"):
                return None
            found = fields(body, "error", *self._voice.substance)
        except JsonProblem:
            return unreadable()
        if found.get("error") and not any(found.get(name) for name in self._voice.substance):
            return self._voice.decode_error(body)
        return None

    def answer(self, body: bytes) -> bytes:
        """The vendor's own bytes, but for the model's name; reads usage from them.

        Raises `JsonProblem` when the answer is none of this dialect.
        """
        self._body_bytes = len(body)
        self._body_usage, self._body_model = self._read or self._voice.usage_of_body(body)
        self._whole = True
        if not (self._renames and self._body_model):
            return body
        try:
            return self._voice.echo_model(body, self._names.asked)
        except JsonProblem:
            return body  # readable enough to be billed, not enough to be changed

    def feed(self, chunk: bytes) -> bytes:
        """Pass a chunk on."""
        out = self._tap.feed(chunk)
        if self.on_response is not None:
            self._tell()
        return out

    def end(self) -> bytes:
        """What was held back at the end of the upstream's stream."""
        self._closed = True
        out = self._tap.end()
        if self.on_response is not None:
            self._tell()
        return out

    def _tell(self) -> None:
        response = self._tap.response if isinstance(self._tap, ResponsesTap) else None
        if response is not None and self.on_response is not None:
            tell, self.on_response = self.on_response, None
            tell(response)

    def cut(self, failure: Failure) -> bytes:
        """The dialect's error event; nothing when the vendor's own has already gone through."""
        tap = self._tap
        if tap.error is not None or self.finished:
            return b""
        if isinstance(tap, GeminiTap) and tap.is_array:
            # Nothing legal can follow half an element: it is left as it is, and no reader takes it for an answer.
            last = gemini_errors.stream_error(failure, array=True) if tap.between_frames else b""
            return last if tap.elements else last.removeprefix(b",\n")
        # In the middle of an event the blank line closes it, so that the error is not taken for a part of it.
        opening = b"" if tap.between_frames else b"\n\n"
        return opening + self._voice.stream_error(failure)

    def keep_alive(self) -> bytes:
        """What readers skip; only between events."""
        return self._voice.keep_alive if self._tap.between_frames else b""

    @property
    def usage(self) -> Usage:
        """The vendor's figures so far; counting tokens uses none."""
        if self._operation in FREE:
            return _NOTHING_USED
        return self._body_usage if self._whole else self._tap.usage

    @property
    def model(self) -> str | None:
        """The model the vendor says it served."""
        return self._body_model if self._whole else self._tap.model

    @property
    def begun(self) -> bool:
        """Whether the vendor has said something."""
        return self._tap.begun

    @property
    def finished(self) -> bool:
        """Whether the answer reached its end."""
        if not self._tap.finished:
            return self._whole
        # Gemini says a finish reason once per round of its own tools: there only the end of the stream is the end.
        return self._closed or self._whole or self._dialect is not Dialect.GEMINI

    @property
    def ended(self) -> bool:
        """Whether nothing more is due to the client."""
        return self.finished

    @property
    def failed(self) -> bool:
        """Whether the vendor itself put an error into the stream."""
        return self._tap.error is not None

    @property
    def error(self) -> VendorError | None:
        """What the vendor said in its error."""
        return self._tap.error

    @property
    def produced(self) -> int:
        """Output tokens seen so far, estimated from the bytes of text."""
        if not self._voice.produces or self._operation is Operation.EMBED:
            return 0
        size = self._body_bytes if self._whole else self._tap.text_bytes
        return -(-size // BYTES_PER_TOKEN)


@lru_cache
def _unfed(dialect: Dialect) -> Tap:
    """A tap for answers that come whole: nothing ever flows through it, so all of them can share one."""
    return VOICES[dialect].tap()


def _renamed_inside(body: bytes, upstream: str) -> bytes:
    """A Gemini body: the path names the model; where the body repeats it (`models/x`), the two must agree."""
    if b'"model"' not in body:
        return body
    name = upstream if "/" in upstream else f"models/{upstream}"
    source = loads(body)
    if not isinstance(source, dict):
        return body
    changed = False
    requests = source.get("requests")
    inner = [source, source.get("generateContentRequest"), *(requests if isinstance(requests, list) else ())]
    for one in inner:
        if isinstance(one, dict) and isinstance(one.get("model"), str):
            one["model"] = name
            changed = True
    return dumps(source) if changed else body
