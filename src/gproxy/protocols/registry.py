"""The dialects there are: two explicit tables, so that nothing is found by side effect.

Each is loaded when it is first asked for: reading and writing all of them takes a sixth of a second to import, and a
gateway whose callers and vendors speak the same dialect never needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from gproxy.canonical.operation import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable

    from gproxy.protocols.base import Dialogue, Outbound

D = TypeVar("D")


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


def _bedrock_converse() -> Outbound:
    from gproxy.protocols.bedrock_converse.dialogue import PROTOCOL

    return PROTOCOL


_CLIENTS: Final[Mapping[Dialect, Callable[[], Dialogue]]] = {
    Dialect.OPENAI_CHAT: _openai_chat,
    Dialect.OPENAI_RESPONSES: _openai_responses,
    Dialect.ANTHROPIC_MESSAGES: _anthropic_messages,
    Dialect.GEMINI: _gemini,
}
_VENDORS: Final[Mapping[Dialect, Callable[[], Outbound]]] = {**_CLIENTS, Dialect.BEDROCK_CONVERSE: _bedrock_converse}


class _Loaded(Mapping[Dialect, D]):
    """A mapping that loads its values."""

    def __init__(self, loaders: Mapping[Dialect, Callable[[], D]]) -> None:
        self._loaders = loaders
        self._loaded: dict[Dialect, D] = {}

    def __getitem__(self, dialect: Dialect) -> D:
        found = self._loaded.get(dialect)
        if found is None:
            found = self._loaded[dialect] = self._loaders[dialect]()
        return found

    def __contains__(self, dialect: object) -> bool:
        return dialect in self._loaders

    def __iter__(self) -> Iterator[Dialect]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)


DIALOGUES: Final[Mapping[Dialect, Dialogue]] = _Loaded(_CLIENTS)
"""Every dialect that clients can be spoken to in, by its name."""
OUTBOUND: Final[Mapping[Dialect, Outbound]] = _Loaded(_VENDORS)
"""Every dialect that vendors can be spoken to in, by its name."""
