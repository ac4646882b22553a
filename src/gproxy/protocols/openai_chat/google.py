"""Signatures of tool calls, as Google's own server of this dialect carries them; the official dialect has no place.

`extra_content.google.thought_signature` beside a call's function (ai.google.dev, "Thought signatures", OpenAI
compatibility). Clients that send a message back as they got it bring the signature home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Signature, Text, ToolCall

if TYPE_CHECKING:
    from collections.abc import Mapping


def signature_of(call: Mapping[str, Any]) -> Signature | None:
    """The signature beside a call, if there is one."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    value = google.get("thought_signature") if isinstance(google, dict) else None
    return Signature(Dialect.GEMINI, value) if isinstance(value, str) and value else None


def extra_content(part: ToolCall | Text, losses: Losses, where: str) -> dict[str, Any]:
    """The fields that carry a part's signature, where they can; other vendors' and those of texts cannot."""
    signature = part.signature
    if signature is None:
        return {}
    if signature.origin is not Dialect.GEMINI or isinstance(part, Text):
        losses.add(Feature.SIGNATURE, where)
        return {}
    return {"extra_content": {"google": {"thought_signature": signature.value}}}


def takes_signatures(model: str) -> bool:
    """Whether a server may be sent the field: others refuse what they do not know."""
    return "gemini" in model.lower()
