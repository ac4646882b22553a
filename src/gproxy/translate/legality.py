"""The last look at what leaves: the bytes an encoder wrote, judged by the rules of their dialect.

Written from the vendors' documents, not from our encoders: one start, blocks opened before deltas and closed once,
indexes in order, one terminal event. A watch only says which rule is broken; what then happens is the hub's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gproxy.canonical.operation import Dialect
from gproxy.wire.json import JsonProblem, loads
from gproxy.wire.sse import Decoder, Event, FrameTooLong

_NO_LIMIT: Final = 1 << 40


class Broken(Exception):  # noqa: N818 - it names what the stream is
    """A rule of the dialect is broken; `rule` is its short name."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class Watch:
    """Watches one client stream of server-sent events."""

    __slots__ = ("_events", "_judge", "ended")

    def __init__(self, dialect: Dialect) -> None:
        self._events = Decoder(_NO_LIMIT)
        self._judge = _JUDGES[dialect]()
        self.ended = False

    def look(self, out: bytes) -> None:
        """Judge whole events on their way out. Raises `Broken`."""
        try:
            events = self._events.feed(out)
        except FrameTooLong:  # pragma: no cover - there is no limit
            return
        for event in events:
            if self.ended:
                raise Broken("after_end")
            try:
                self.ended = self._judge(event)
            except (KeyError, TypeError, AttributeError):
                raise Broken("malformed") from None


def _body(event: Event) -> dict[str, Any]:
    try:
        body = loads(event.data)
    except JsonProblem:
        raise Broken("not_json") from None
    if not isinstance(body, dict):
        raise Broken("no_object")
    return body


class _Chat:
    """OpenAI API reference, "The chat completion chunk object"."""

    def __init__(self) -> None:
        self._finished: set[int] = set()
        self._calls: dict[int, int] = {}

    def __call__(self, event: Event) -> bool:
        if event.data == b"[DONE]":
            if not self._finished:
                raise Broken("no_finish_reason")
            return True
        body = _body(event)
        if body.get("error"):
            return True
        if body.get("object") != "chat.completion.chunk" or not body.get("id"):
            raise Broken("no_chunk")
        for choice in body["choices"]:
            index = choice["index"]
            if index in self._finished:
                raise Broken("after_finish_reason")
            for call in choice["delta"].get("tool_calls") or ():
                self._call(index, call)
            if choice["finish_reason"] is not None:
                self._finished.add(index)
        return False

    def _call(self, choice: int, call: dict[str, Any]) -> None:
        known = self._calls.get(choice, 0)
        if call["index"] > known:
            raise Broken("call_index")
        if call["index"] == known:
            if not call.get("id") or not (call.get("function") or call.get("custom") or {}).get("name"):
                raise Broken("call_without_name")
            self._calls[choice] = known + 1


class _Anthropic:
    """Anthropic API docs, "Streaming messages"."""

    def __init__(self) -> None:
        self._started = self._told = False
        self._open: int | None = None
        self._next = 0
        self._steps: Mapping[str, Callable[[dict[str, Any]], bool]] = {
            "message_start": self._start,
            "content_block_start": self._begin,
            "content_block_delta": self._delta,
            "content_block_stop": self._stop,
            "message_delta": self._message,
            "message_stop": self._end,
        }

    def __call__(self, event: Event) -> bool:
        body = _body(event)
        kind = body.get("type")
        if kind != event.name:
            raise Broken("event_name")
        if kind == "error":
            return True
        if kind == "ping":
            return False
        step = self._steps.get(kind)
        if step is None:
            raise Broken("unknown_event")
        if self._started is (kind == "message_start"):
            raise Broken("message_start")
        return step(body)

    def _start(self, body: dict[str, Any]) -> bool:
        self._started = True
        if not isinstance(body["message"].get("usage"), dict):
            raise Broken("no_usage")
        return False

    def _begin(self, body: dict[str, Any]) -> bool:
        if self._open is not None or body["index"] != self._next or self._told:
            raise Broken("block_order")
        self._open, self._next = self._next, self._next + 1
        return False

    def _delta(self, body: dict[str, Any]) -> bool:
        if body["index"] != self._open:
            raise Broken("block_not_open")
        return False

    def _stop(self, body: dict[str, Any]) -> bool:
        if body["index"] != self._open:
            raise Broken("block_not_open")
        self._open = None
        return False

    def _message(self, body: dict[str, Any]) -> bool:
        if self._open is not None:
            raise Broken("block_left_open")
        if not isinstance(body.get("usage"), dict):
            raise Broken("no_usage")
        self._told = self._told or body["delta"].get("stop_reason") is not None
        return False

    def _end(self, body: dict[str, Any]) -> bool:
        del body
        if self._open is not None or not self._told:
            raise Broken("no_stop_reason")
        return True


_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Responses:
    """OpenAI API reference, "Streaming events" of the Responses API."""

    def __init__(self) -> None:
        self._created = self._erred = False
        self._sequence = -1
        self._items: set[int] = set()
        self._next = 0

    def __call__(self, event: Event) -> bool:
        body = _body(event)
        kind = body.get("type")
        if kind != event.name:
            raise Broken("event_name")
        if self._erred and kind != "response.failed":
            raise Broken("after_end")
        if kind == "error":
            # The service sends the state it leaves behind after it.
            self._erred = True
            return False
        if not self._erred and body.get("sequence_number") != self._sequence + 1:
            raise Broken("sequence_number")
        self._sequence += 1
        if not self._erred and self._created is (kind == "response.created"):
            raise Broken("response_created")
        self._created = True
        if kind == "response.output_item.added":
            if body["output_index"] != self._next:
                raise Broken("output_index")
            self._items.add(self._next)
            self._next += 1
        elif kind in _LAST:
            return self._end(kind, body)
        elif "output_index" in body and body["output_index"] not in self._items:
            raise Broken("item_not_open")
        elif kind == "response.output_item.done":
            self._items.discard(body["output_index"])
        return False

    def _end(self, kind: str, body: dict[str, Any]) -> bool:
        if kind != "response.failed":
            if self._items:
                raise Broken("item_left_open")
            if not isinstance(body["response"].get("usage"), dict):
                raise Broken("no_usage")
        return True


class _Gemini:
    """Gemini API reference, "GenerateContentResponse". The stream has no terminal event of its own."""

    def __init__(self) -> None:
        self._finished: set[int] = set()

    def __call__(self, event: Event) -> bool:
        body = _body(event)
        if body.get("error"):
            return True
        for candidate in body.get("candidates") or ():
            index = candidate.get("index", 0)
            if candidate.get("finishReason"):
                self._finished.add(index)  # once per round, when the model runs code in between
            elif index in self._finished:
                raise Broken("after_finish_reason")
        return False


_JUDGES: Final[Mapping[Dialect, Callable[[], Callable[[Event], bool]]]] = {
    Dialect.OPENAI_CHAT: _Chat,
    Dialect.ANTHROPIC_MESSAGES: _Anthropic,
    Dialect.OPENAI_RESPONSES: _Responses,
    Dialect.GEMINI: _Gemini,
}
