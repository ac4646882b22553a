"""What a translation could not carry. Losses are values: they can be forbidden, shown to the caller, counted, tested."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class LossPolicy(StrEnum):
    """What to do about losses. FORBID: refuse with 400 naming the field; WARN: tell in a header; ALLOW: say nothing."""

    FORBID = "forbid"
    WARN = "warn"
    ALLOW = "allow"


class Feature(StrEnum):
    """The names callers see in `x-gproxy-loss`. Stable: renaming one is a breaking change."""

    SYSTEM_POSITION = "system_position"
    """A system turn in the middle was moved or turned into another role."""
    SPEAKER_NAME = "speaker_name"
    IMAGE = "image"
    IMAGE_DETAIL = "image_detail"
    FILE = "file"
    FILE_REFERENCE = "file_reference"
    AUDIO = "audio"
    VIDEO = "video"
    THINKING = "thinking"
    SIGNATURE = "signature"
    REDACTED_THINKING = "redacted_thinking"
    REFUSAL = "refusal"
    CITATIONS = "citations"
    CACHE_CONTROL = "cache_control"
    CACHE_KEY = "cache_key"
    CUSTOM_TOOL = "custom_tool"
    TOOL_GRAMMAR = "tool_grammar"
    """The grammar of a custom tool is told to the model, and no longer enforced."""
    SERVER_TOOL = "server_tool"
    TOOL_CHOICE = "tool_choice"
    PARALLEL_TOOL_CALLS = "parallel_tool_calls"
    TOOL_STRICT = "tool_strict"
    TOOL_RESULT_PARTS = "tool_result_parts"
    TOOL_RESULT_ERROR = "tool_result_error"
    TOOL_ARGUMENTS = "tool_arguments"
    """Arguments that are not a JSON object were wrapped."""
    OUTPUT_FORMAT = "output_format"
    VERBOSITY = "verbosity"
    MODALITIES = "modalities"
    REASONING = "reasoning"
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    TOP_K = "top_k"
    STOP = "stop"
    SEED = "seed"
    N = "n"
    PENALTIES = "penalties"
    LOGPROBS = "logprobs"
    LOGIT_BIAS = "logit_bias"
    SERVICE_TIER = "service_tier"
    USER = "user"
    METADATA = "metadata"
    STORE = "store"
    PREVIOUS_RESPONSE = "previous_response_id"
    STOP_DETAILS = "stop_details"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Loss:
    """One thing that found no place. `field` is where it stood in the client's terms, as far as known."""

    feature: Feature
    field: str | None = None


class Losses(msgspec.Struct):
    """Collects the losses of one translation, each feature once."""

    found: list[Loss] = msgspec.field(default_factory=list)

    def add(self, feature: Feature, where: str | None = None) -> None:
        """Note a loss; only the first of a feature is kept."""
        if all(loss.feature is not feature for loss in self.found):
            self.found.append(Loss(feature, where))

    def header(self) -> str:
        """The value of `x-gproxy-loss`; empty when nothing was lost."""
        return ", ".join(loss.feature for loss in self.found)

    def __bool__(self) -> bool:
        return bool(self.found)
