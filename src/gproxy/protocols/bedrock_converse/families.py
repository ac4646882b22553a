"""What the families of models behind Converse take that Converse itself has no word for, told from a model's id.

Such settings travel in `additionalModelRequestFields` in the model's own words, and a model refuses what it does not
know; so only what its maker documents is sent (Bedrock user guide, "Inference request parameters and response fields
for foundation models" and "Prompt caching"; Nova user guide, "Core inference" and "Extended thinking"). Ids look like

    amazon.nova-2-lite-v1:0      us.anthropic.claude-opus-4-7      arn:aws:bedrock:…:foundation-model/meta.llama3-70b…

The ARN of a profile or a deployment of one's own does not tell what answers. Then cache points are written all the
same (who sets up such a profile chose the model), and nothing else of this table is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Thinks(Enum):
    """How a family is told to think."""

    UNTOLD = "untold"
    CLAUDE = "claude"
    """`thinking`, and from some generation on an effort word."""
    NOVA = "nova"
    """`reasoningConfig`."""


class Place(Enum):
    """Where a cache point may stand."""

    SYSTEM = "system"
    MESSAGES = "messages"
    TOOLS = "tools"


@dataclass(frozen=True, slots=True)
class Family:
    """One family. `top_k` is the path of that setting among the additional fields; empty when there is none."""

    top_k: tuple[str, ...] = ()
    thinks: Thinks = Thinks.UNTOLD
    caches: frozenset[Place] = frozenset()
    keeps_1h: bool = False
    """Whether a cache point may ask for an hour."""


_EVERYWHERE: Final = frozenset(Place)
_NOT_TOOLS: Final = frozenset({Place.SYSTEM, Place.MESSAGES})
_UNKNOWN: Final = Family(caches=_EVERYWHERE, keeps_1h=True)
_FAMILIES: Final = (
    ("anthropic", "claude", Family(("top_k",), Thinks.CLAUDE, _EVERYWHERE, keeps_1h=True)),
    ("amazon", "nova-2", Family(("inferenceConfig", "topK"), Thinks.NOVA, _NOT_TOOLS)),
    ("amazon", "nova", Family(("inferenceConfig", "topK"), caches=_NOT_TOOLS)),
    ("mistral", "", Family(("top_k",))),
    ("cohere", "command", Family(("k",))),
)
_ID: Final = re.compile(r"(?:^|/)(?:(?:us|us-gov|eu|apac|jp|au|ca|global)\.)?([a-z0-9-]+)\.([a-z0-9-][^/]*)$")


def family_of(model: str) -> Family:
    """The family of a model, by its id or ARN."""
    found = _ID.search(model)
    if found is None:
        return _UNKNOWN
    maker, name = found.groups()
    return next((family for of, start, family in _FAMILIES if of == maker and name.startswith(start)), Family())
