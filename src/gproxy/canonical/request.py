"""A neutral request to generate.

None means that the client did not say: a dialect then writes nothing, and the vendor's default holds. Nothing is
defaulted here. See `part` for the conventions that hold for `cache` and `extras`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import NO_EXTRAS, CacheMark, Extras, Part, ServerToolKind


class Role(StrEnum):
    """Who speaks. Tool results are spoken by the user: they are parts of a user turn in every dialect's reading."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. System turns stand where the client put them: first, in the middle, anywhere.

    Neighbouring turns of one role are kept apart. Tool results come before anything else in their turn.
    `name` is the speaker's name where the client gave one.
    """

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    id: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A tool the client runs. `schema` is a JSON Schema as the client wrote it; None means no arguments."""

    name: str
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class CustomTool:
    """A tool the client runs that takes free text. `format` is the wire's grammar object, if any."""

    name: str
    description: str | None = None
    format: Mapping[str, Any] | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A tool the vendor runs. Neutral options where dialects share them, the wire's own object in `extras`."""

    kind: ServerToolKind
    name: str | None = None
    allowed_domains: tuple[str, ...] | None = None
    blocked_domains: tuple[str, ...] | None = None
    location: Mapping[str, Any] | None = None
    """The user's approximate place: `city`, `region`, `country`, `timezone`."""
    max_uses: int | None = None
    effort: str | None = None
    """How much context a search may bring: `low`, `medium`, `high`."""
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class OpaqueTool:
    """A tool of one dialect that no other knows; carried home or a named loss."""

    dialect: Dialect
    kind: str
    payload: Mapping[str, Any]


Tool: TypeAlias = FunctionTool | CustomTool | ServerTool | OpaqueTool


class ToolMode(StrEnum):
    """What the model may or must do with its tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    """At least one call."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools may or must be called, and which.

    `names` narrows the choice: with REQUIRED and one name that very tool must be called; with several, or with
    AUTO, only those may be.
    """

    mode: ToolMode
    names: tuple[str, ...] = ()
    extras: Extras = NO_EXTRAS


class Effort(StrEnum):
    """How hard to think, in the words the dialects share."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What was said about thinking. `enabled` False switches it off, True on; `budget` is in tokens.

    `adaptive` leaves the amount to the model. `show` asks for it to be shown: `none`, `auto`, `concise`,
    `detailed` (a summary), `full`.
    """

    enabled: bool | None = None
    effort: Effort | None = None
    budget: int | None = None
    adaptive: bool | None = None
    show: str | None = None
    extras: Extras = NO_EXTRAS


class OutputKind(StrEnum):
    """The form of the answer."""

    TEXT = "text"
    JSON = "json"
    """Any JSON object."""
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What the answer must look like."""

    kind: OutputKind
    schema: Mapping[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn and when the model stops."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Speech:
    """How a spoken answer is to sound."""

    voice: str | None = None
    format: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Request:
    """Everything a client asked for in one generate call.

    `modalities` are the kinds of output asked for (`text`, `audio`, `image`). `cache` is a marker on the request
    as a whole (automatic caching). `include_usage` is whether the client asked for usage in a stream, where its
    dialect lets it choose.
    """

    model: str
    turns: tuple[Turn, ...]
    stream: bool = False
    include_usage: bool | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    sampling: Sampling = field(default_factory=Sampling)
    reasoning: Reasoning | None = None
    output: OutputFormat | None = None
    verbosity: str | None = None
    modalities: tuple[str, ...] | None = None
    speech: Speech | None = None
    service_tier: str | None = None
    user: str | None = None
    metadata: Mapping[str, Any] | None = None
    store: bool | None = None
    previous_id: str | None = None
    """The vendor-kept conversation this one continues (Responses `previous_response_id`)."""
    cache_key: str | None = None
    cache: CacheMark | None = None
    extras: Extras = NO_EXTRAS
