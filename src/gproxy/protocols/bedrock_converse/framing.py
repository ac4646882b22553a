"""A ConverseStream on the wire: binary messages whose headers name the event and whose payload is JSON.

    event      :message-type event      :event-type contentBlockDelta      payload of the event
    exception  :message-type exception  :exception-type throttlingException  {"message": "…"}
    error      :message-type error      :error-code, :error-message        nothing

AWS SDKs, "Event stream encoding"; Bedrock API reference, "ConverseStreamOutput".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gproxy.wire import sse
from gproxy.wire.eventstream import BadMessage, Decoder
from gproxy.wire.json import JsonProblem, dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gproxy.wire.eventstream import Message

FAILED: Final = "!"
"""How the name of a frame begins that is no event but the end of the stream by a failure."""


class Frames:
    """Bytes in, events out as frames. Raises `JsonProblem` for bytes that are no event stream."""

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        self._messages = Decoder()

    def feed(self, chunk: bytes) -> Iterator[sse.Event]:
        """The events that these bytes complete."""
        try:
            for message in self._messages.messages(chunk):
                yield _frame(message)
        except BadMessage as problem:
            raise JsonProblem(str(problem)) from None

    def end(self) -> tuple[()]:
        """Nothing is held back; a stream that ends inside a message broke off."""
        try:
            self._messages.end()
        except BadMessage as problem:
            raise JsonProblem(str(problem)) from None
        return ()


def _frame(message: Message) -> sse.Event:
    kind = message.text(":message-type")
    if kind == "error":
        told = {"message": message.text(":error-message")}
        return sse.Event(dumps(told), FAILED + (message.text(":error-code") or kind))
    exception = message.text(":exception-type")
    if exception or kind == "exception":
        payload = message.payload if message.payload.strip().startswith(b"{") else b"{}"
        return sse.Event(payload, FAILED + (exception or kind))
    return sse.Event(message.payload, message.text(":event-type"))
