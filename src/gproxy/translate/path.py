"""Which road leads from a client's dialect to a vendor: straight through, through the neutral vocabulary, or none.

    native                ──► passthrough
    translate to X        ──► hub, over X's own endpoint
    local                 ──► answered here
    unsupported, missing  ──► no road, and why

A vendor that can only stream, or only not, still serves both kinds of client: the hub turns one into the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

from gproxy.canonical.loss import LossPolicy
from gproxy.canonical.operation import GENERATE_DIALECTS, VENDOR_DIALECTS, Dialect, Operation
from gproxy.protocols.registry import DIALOGUES, OUTBOUND
from gproxy.translate import counting


class Entry(Protocol):
    """One line of a vendor's table, as seen from here (`channels.vendor.Endpoint` is one)."""

    @property
    def support(self) -> str:
        """`native`, `translate`, `local` or `unsupported`."""
        ...

    @property
    def to(self) -> Dialect | None:
        """Where `translate` leads."""
        ...


E_co = TypeVar("E_co", bound=Entry, covariant=True)


class Table(Protocol[E_co]):
    """A vendor's table, as seen from here (`channels.vendor.Vendor` is one)."""

    @property
    def name(self) -> str:
        """The channel's name."""
        ...

    def endpoint(self, operation: Operation, dialect: Dialect, model: str | None = None) -> E_co | None:
        """The entry for an operation in a dialect, for one upstream model; None means unsupported."""
        ...


class Way(Enum):
    """How an answer gets from the vendor to the client."""

    PASSTHROUGH = "passthrough"
    HUB = "hub"
    COUNT = "count"
    """Another dialect's token counter, its figure said in the client's words."""
    EMBED = "embed"
    """The other shape of embeddings."""
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Road(Generic[E_co]):
    """A way that exists. `endpoint` is where the vendor is asked (None: nowhere), `operation` what it is asked."""

    way: Way
    operation: Operation
    dialect: Dialect
    """What the client speaks."""
    to: Dialect
    """What the vendor is spoken to in."""
    endpoint: E_co | None
    loss: LossPolicy


@dataclass(frozen=True, slots=True)
class NoRoad:
    """There is none; `reason` is for the caller."""

    reason: str


EMBEDDINGS: Final = frozenset({Dialect.OPENAI_EMBEDDINGS, Dialect.GEMINI})
"""The shapes of embeddings that there are; each can be had from the other."""

_SWAPPED: Final = {Operation.STREAM: Operation.GENERATE, Operation.GENERATE: Operation.STREAM}


def road(
    vendor: Table[E_co],
    operation: Operation,
    dialect: Dialect,
    model: str,
    loss: LossPolicy = LossPolicy.WARN,
) -> Road[E_co] | NoRoad:
    """How a vendor serves an operation to a client of this dialect, for one of its models."""
    entry = vendor.endpoint(operation, dialect, model)
    if entry is None:
        other = _SWAPPED.get(operation)
        entry = None if other is None else vendor.endpoint(other, dialect, model)
        if entry is None:
            return NoRoad(f"the channel {vendor.name!r} cannot serve {operation.value} in {dialect.value}")
        if entry.support == "native":
            found = _hub(vendor, operation, dialect, model, (dialect,), loss)
            assert found is not None
            return found
    match entry.support:
        case "native":
            return Road(Way.PASSTHROUGH, operation, dialect, dialect, entry, loss)
        case "local":
            return Road(Way.LOCAL, operation, dialect, dialect, None, loss)
        case _:
            found = _translated(vendor, operation, dialect, model, entry.to, loss)
            return found or NoRoad(
                f"the channel {vendor.name!r} cannot serve {operation.value} in {dialect.value} for this model"
            )


def _translated(
    vendor: Table[E_co], operation: Operation, dialect: Dialect, model: str, to: Dialect | None, loss: LossPolicy
) -> Road[E_co] | None:
    if operation is Operation.COUNT_TOKENS:
        for other in dict.fromkeys([*([to] if to else ()), *GENERATE_DIALECTS]):
            entry = vendor.endpoint(operation, other, model)
            if entry is not None and entry.support == "native" and counting.can(dialect, other):
                return Road(Way.COUNT, operation, dialect, other, entry, loss)
        return Road(Way.LOCAL, operation, dialect, dialect, None, loss)
    if operation is Operation.EMBED:
        entry = None if to is None else vendor.endpoint(operation, to, model)
        if to is None or entry is None or entry.support != "native" or {dialect, to} != EMBEDDINGS:
            return None
        return Road(Way.EMBED, operation, dialect, to, entry, loss)
    # What the table says comes first; a model that is served in another dialect is reached in that one.
    others = dict.fromkeys([*([to] if to else ()), *VENDOR_DIALECTS])
    return _hub(vendor, operation, dialect, model, tuple(others), loss)


def _hub(
    vendor: Table[E_co],
    operation: Operation,
    dialect: Dialect,
    model: str,
    others: Sequence[Dialect],
    loss: LossPolicy,
) -> Road[E_co] | None:
    if operation not in _SWAPPED or dialect not in DIALOGUES:
        return None
    for asked in (operation, _SWAPPED[operation]):
        for other in others:
            entry = vendor.endpoint(asked, other, model)
            if entry is not None and entry.support == "native" and other in OUTBOUND:
                return Road(Way.HUB, asked, dialect, other, entry, loss)
    return None
