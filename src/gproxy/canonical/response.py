"""A finished answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gproxy.canonical.part import NO_EXTRAS, Extras, Part
from gproxy.canonical.usage import UNKNOWN, Usage

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.canonical.operation import Dialect


class StopReason(StrEnum):
    """Why the model stopped."""

    END = "end"
    LENGTH = "length"
    CONTEXT = "context"
    """The context window was full, not the output limit."""
    STOP_SEQUENCE = "stop_sequence"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"
    """A server tool's loop is paused; the client sends the answer back to go on."""
    MALFORMED_CALL = "malformed_call"
    """The model wrote a tool call that cannot be read."""
    FAILED = "failed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Stop:
    """Why, in neutral words and in the wire's own.

    `sequence` is the stop sequence that was met, `details` an explanation the vendor gave. `raw` is the wire's own
    word and `origin` whose word it is: the same dialect writes it back.
    """

    reason: StopReason
    sequence: str | None = None
    details: str | None = None
    raw: str | None = None
    origin: Dialect | None = None


@dataclass(frozen=True, slots=True)
class TokenChance:
    """A token and the natural logarithm of its probability. `bytes` is its UTF-8, where the dialect says it."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple[TokenChance, ...] = ()


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Chances of the tokens of the text and of the refusal, in order."""

    content: tuple[TokenChance, ...] | None = None
    refusal: tuple[TokenChance, ...] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `n` answers. `stop` None: the vendor gave no reason."""

    index: int
    parts: tuple[Part, ...]
    stop: Stop | None
    logprobs: Logprobs | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. `created` is in seconds since the epoch. `error` is set when the vendor answers 200 and failed."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage = UNKNOWN
    created: int | None = None
    service_tier: str | None = None
    error: VendorError | None = None
    extras: Extras = NO_EXTRAS
