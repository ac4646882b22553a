"""The dialects there are: an explicit table, so that nothing is found by side effect."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gproxy.canonical.operation import Dialect
from gproxy.protocols import anthropic_messages, gemini, openai_chat, openai_responses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.protocols.base import Dialogue

DIALOGUES: Final[Mapping[Dialect, Dialogue]] = MappingProxyType(
    {
        Dialect.OPENAI_CHAT: openai_chat.PROTOCOL,
        Dialect.OPENAI_RESPONSES: openai_responses.PROTOCOL,
        Dialect.ANTHROPIC_MESSAGES: anthropic_messages.PROTOCOL,
        Dialect.GEMINI: gemini.PROTOCOL,
    }
)
"""Every dialect that can be read and written, by its name."""
