"""The dialects there are: an explicit table, so that nothing is found by side effect.

Each is loaded when it is first asked for: reading and writing all four takes a sixth of a second to import, and a
gateway whose callers and vendors speak the same dialect never needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from gproxy.canonical.operation import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable

    from gproxy.protocols.base import Dialogue


def _openai_chat() -> Dialogue:
    from gproxy.protocols.openai_chat.dialogue import PROTOCOL

    return PROTOCOL


def _openai_responses() -> Dialogue:
    from gproxy.protocols.openai_responses.dialogue import PROTOCOL

    return PROTOCOL


def _anthropic_messages() -> Dialogue:
    from gproxy.protocols.anthropic_messages.dialogue import PROTOCOL

    return PROTOCOL


def _gemini() -> Dialogue:
    from gproxy.protocols.gemini.dialogue import PROTOCOL

    return PROTOCOL


_LOADERS: Final[Mapping[Dialect, Callable[[], Dialogue]]] = {
    Dialect.OPENAI_CHAT: _openai_chat,
    Dialect.OPENAI_RESPONSES: _openai_responses,
    Dialect.ANTHROPIC_MESSAGES: _anthropic_messages,
    Dialect.GEMINI: _gemini,
}


class _Dialogues(Mapping[Dialect, "Dialogue"]):
    """A mapping that loads its values."""

    def __init__(self) -> None:
        self._loaded: dict[Dialect, Dialogue] = {}

    def __getitem__(self, dialect: Dialect) -> Dialogue:
        found = self._loaded.get(dialect)
        if found is None:
            found = self._loaded[dialect] = _LOADERS[dialect]()
        return found

    def __contains__(self, dialect: object) -> bool:
        return dialect in _LOADERS

    def __iter__(self) -> Iterator[Dialect]:
        return iter(_LOADERS)

    def __len__(self) -> int:
        return len(_LOADERS)


DIALOGUES: Final[Mapping[Dialect, Dialogue]] = _Dialogues()
"""Every dialect that can be read and written, by its name."""
