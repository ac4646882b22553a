"""A streamed answer, as events.

    Started ─► ( PartOpened ─► deltas … ─► PartClosed )* ─► ChoiceFinished* ─► Finished      or, at any point, Failed

What every decoder promises and every encoder may rely on:

* `Started` comes first and once; `Finished` or `Failed` comes last and once.
* Parts of a choice are numbered from 0 in the order they open. Each is opened once, closed once, and every delta
  lies between. Several may be open at a time (parallel tool calls); an encoder whose dialect allows one at a time
  keeps the others back until their turn.
* A part opens with what is known of it (a tool call with id and name, a text empty) and closes with the whole
  part, so that an encoder need not collect deltas. The deltas joined are the closed part's content.
* `ChoiceFinished` follows the last part of its choice. `UsageReported` may come anywhere; figures are running
  totals, and `Finished` repeats the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gproxy.canonical.failure import VendorError
from gproxy.canonical.part import NO_EXTRAS, Citation, Extras, Part, Signature
from gproxy.canonical.response import Logprobs, Stop
from gproxy.canonical.usage import UNKNOWN, Usage


@dataclass(frozen=True, slots=True)
class Started:
    """The vendor began to answer. `usage` is what it says of the prompt already, if anything."""

    id: str
    model: str
    created: int | None = None
    service_tier: str | None = None
    usage: Usage = UNKNOWN
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class PartOpened:
    """A part begins."""

    choice: int
    index: int
    part: Part


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the open part: of a text, a thinking, a refusal; or an audio's transcript."""

    choice: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """More of a tool call's arguments, as the model writes them."""

    choice: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class SignatureDelta:
    """The open part's signature; a later one replaces it."""

    choice: int
    index: int
    signature: Signature


@dataclass(frozen=True, slots=True)
class CitationDelta:
    """One more citation of the open text."""

    choice: int
    index: int
    citation: Citation


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """More sound of the open audio, in base64 (each piece decodes by itself)."""

    choice: int
    index: int
    data: str


@dataclass(frozen=True, slots=True)
class LogprobsDelta:
    """Chances of further tokens of a choice."""

    choice: int
    logprobs: Logprobs


@dataclass(frozen=True, slots=True)
class PartClosed:
    """A part is complete; `part` is all of it."""

    choice: int
    index: int
    part: Part


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    """A choice is complete. `stop` None: the vendor gave no reason."""

    choice: int
    stop: Stop | None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Running totals so far."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete."""

    usage: Usage = UNKNOWN
    service_tier: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Failed:
    """The vendor failed after it had begun, or the stream broke off or made no sense."""

    error: VendorError


Event: TypeAlias = (
    Started
    | PartOpened
    | TextDelta
    | ArgumentsDelta
    | SignatureDelta
    | CitationDelta
    | AudioDelta
    | LogprobsDelta
    | PartClosed
    | ChoiceFinished
    | UsageReported
    | Finished
    | Failed
)
