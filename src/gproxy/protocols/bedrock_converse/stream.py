"""ConverseStream (Bedrock API reference, "ConverseStream").

    messageStart ─► ( contentBlockStart? ─► contentBlockDelta … ─► contentBlockStop )* ─► messageStop ─► metadata

Only some blocks have a start. The figures come last, after the reason of the end; a stream that ends without them is
whole all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.events import ChoiceFinished, Event, Finished, Started, UsageReported
from gproxy.protocols.bedrock_converse import errors
from gproxy.protocols.bedrock_converse.framing import FAILED, Frames
from gproxy.protocols.bedrock_converse.growing import Held, Shown, implied, implies, kind_of, started
from gproxy.protocols.bedrock_converse.response import stop_of, tier_of
from gproxy.protocols.bedrock_converse.usage import usage_of
from gproxy.protocols.decoder import FrameDecoder
from gproxy.protocols.figures import count

if TYPE_CHECKING:
    from gproxy.canonical.response import Stop

_EXCEPTION: Final = "Exception"


class Decoder(FrameDecoder):
    """Reads one upstream stream. See `protocols.base.StreamDecoder`."""

    __slots__ = ("_open", "_parts", "_stop", "_tier")

    def __init__(self) -> None:
        super().__init__(Frames())
        self._open: dict[int, Shown | Held] = {}
        self._parts = 0
        self._stop: Stop | None = None
        self._tier: str | None = None

    def _take(self, body: dict[str, Any], name: str, events: list[Event]) -> None:
        if name.startswith(FAILED):
            events += self._fail(errors.of_exception(name.removeprefix(FAILED), body))
            return
        if name.endswith(_EXCEPTION):  # a failure that came as an event
            events += self._fail(errors.of_exception(name, body))
            return
        if not self._started:
            self._started = True
            events.append(Started("", ""))
        at = count(body.get("contentBlockIndex")) or 0
        match name:
            case "contentBlockDelta":
                delta = body.get("delta")
                events += self._delta(at, delta) if isinstance(delta, dict) else []
            case "contentBlockStart":
                start = body.get("start")
                events += self._begin(at, start) if isinstance(start, dict) else []
            case "contentBlockStop":
                events += self._stopped(at)
            case "messageStop":
                self._stop = stop_of(body.get("stopReason"), body.get("additionalModelResponseFields"))
            case "metadata":
                events += self._figures(body)
            case _:
                pass  # the start says nothing more; events of later versions are passed over

    def _begin(self, at: int, start: dict[str, Any]) -> list[Event]:
        events = self._stopped(at)
        block = started(start, self._number, f"tooluse_{at}")
        return events if block is None else events + self._opened(at, block)

    def _opened(self, at: int, block: Shown | Held) -> list[Event]:
        self._open[at] = block
        return block.begin()

    def _number(self) -> int:
        self._parts += 1
        return self._parts - 1

    def _delta(self, at: int, delta: dict[str, Any]) -> list[Event]:
        kind, value = kind_of(delta)
        block, events = self._open.get(at), []
        if block is None or not block.fits(kind):
            if not implies(kind):
                return []
            events = self._stopped(at)
            block = implied(kind, self._number)
            events += self._opened(at, block)
        return events + block.delta(kind, value)

    def _stopped(self, at: int, *, cut: bool = False) -> list[Event]:
        block = self._open.pop(at, None)
        return [] if block is None else block.close(cut=cut)

    def _figures(self, body: dict[str, Any]) -> list[Event]:
        self._usage = self._usage.then(usage_of(body.get("usage")))
        self._tier = tier_of(body)
        if self._stop is None:
            return [UsageReported(self._usage)] if self._usage.known else []
        return self._finish()

    def _rest(self) -> list[Event]:
        return self._broke_off() if self._stop is None else self._finish()

    def _finish(self) -> list[Event]:
        events = [*self._opening(), *self._closed(cut=False)]
        self._ended = True
        return [*events, ChoiceFinished(0, self._stop), Finished(self._usage, self._tier)]

    def _close(self) -> list[Event]:
        return self._closed(cut=True)

    def _closed(self, *, cut: bool) -> list[Event]:
        return [event for at in list(self._open) for event in self._stopped(at, cut=cut)]
