"""What Claude models accept, told from their names; two dialects lead to them (Messages and Bedrock's Converse).

Which form of thinking and which sampling a model takes depends on its generation (Anthropic docs, "Adaptive
thinking", "Effort", "Migration guide"):

| generation | thinking                      | temperature, top_p, top_k |
| ---        | ---                           | ---                       |
| before 4.6 | a budget in tokens            | accepted                  |
| 4.6        | adaptive, with an effort word | accepted                  |
| from 4.7   | adaptive, with an effort word | refused                   |
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.request import Effort

if TYPE_CHECKING:
    from gproxy.canonical.request import Request

LEAST_BUDGET: Final = 1024
"""The smallest thinking budget that servers accept, in tokens."""
ADAPTIVE: Final = (4, 6)
"""The first generation whose thinking takes an effort word."""
_FIXED_SAMPLING: Final = (4, 7)
_GENERATION: Final = re.compile(r"claude-(?:[a-z]+-)*(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def generation(model: str) -> tuple[int, int] | None:
    """The generation a model's name states (`claude-opus-4-7` is 4.7); None when it states none."""
    found = _GENERATION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else None


def effort_word(effort: Effort | None, since: tuple[int, int], losses: Losses) -> str | None:
    """The word for an effort that models of this generation know."""
    if effort is Effort.MINIMAL:
        losses.add(Feature.REASONING, "reasoning")
        return Effort.LOW.value
    if effort is Effort.XHIGH and since < (4, 7):
        losses.add(Feature.REASONING, "reasoning")
        return Effort.HIGH.value
    return None if effort is None else effort.value


def accepted(request: Request, losses: Losses, *, thinks: bool) -> tuple[float | None, float | None, int | None]:
    """Temperature, top_p and top_k as the model takes them; a model that thinks leaves less choice."""
    sampling, since = request.sampling, generation(request.model)
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    if thinks or (since is not None and since >= _FIXED_SAMPLING):
        if temperature not in (None, 1):
            losses.add(Feature.TEMPERATURE, "temperature")
        if top_p not in (None, 1):
            losses.add(Feature.TOP_P, "top_p")
        if top_k is not None:
            losses.add(Feature.TOP_K, "top_k")
        return None, None, None
    if temperature is not None and temperature > 1:
        losses.add(Feature.TEMPERATURE, "temperature")
        temperature = 1
    if temperature is not None and top_p is not None:
        # Models since 4.1 take one of them; the whole distribution is no restriction.
        if top_p != 1:
            losses.add(Feature.TOP_P, "top_p")
        top_p = None
    return temperature, top_p, top_k


def closed(schema: Any, losses: Losses) -> Any:
    """A schema of an answer's form whose objects say that they have no other fields, as servers demand."""
    if isinstance(schema, list):
        return [closed(item, losses) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: value if key in ("enum", "const", "default", "examples") else closed(value, losses)
           for key, value in schema.items()}  # fmt: skip
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        if schema.get("additionalProperties") is not None:
            losses.add(Feature.OUTPUT_FORMAT, "response_format")
        out["additionalProperties"] = False
    return out
