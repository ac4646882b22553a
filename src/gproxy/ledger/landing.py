"""Putting a batch into the database. The sink and recovery share it: a clean end is recovery done early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gproxy.ledger.batch import Bisection
from gproxy.ledger.intake import Waiting
from gproxy.ledger.store import StorePoison, StoreUnavailable, UsageStore


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a batch: rows that are in the database now, how many of them were new, rows set aside."""

    rows: int = 0
    new: int = 0
    quarantined: int = 0


async def land(store: UsageStore, batch: Sequence[Waiting], *, with_position: bool = True) -> Landed:
    """Insert a batch; rows the database refuses are set aside alone, their batch mates land.

    Raises `StoreUnavailable`; part of the batch may be in by then, and trying it all again changes nothing. An
    exception that is neither of the port's two proves nothing about a row while nothing lands: then it is raised. Once
    other rows have landed, a row that still fails by itself is set aside like poison.
    """
    parts = Bisection(len(batch))
    rows = new = quarantined = 0
    suspects: list[tuple[Waiting, Exception]] = []
    while (part := parts.part) is not None:
        some = batch[part[0] : part[1]]
        # The position says that everything before it has landed, which is not so while a suspect is undecided.
        position = some[-1].position if with_position and not suspects else None
        try:
            result = await store.insert_usages([waiting.row for waiting in some], position)
        except StoreUnavailable:
            raise
        except StorePoison as error:
            poison = parts.refused()
            if poison is not None:
                await store.quarantine(batch[poison].row, str(error))
                quarantined += 1
        except Exception as error:
            suspect = parts.refused()
            if suspect is not None:
                suspects.append((batch[suspect], error))
        else:
            parts.landed()
            rows += len(some)
            new += len(result.new_ids)
    if suspects and not rows:
        raise suspects[0][1]
    for waiting, reason in suspects:
        await store.quarantine(waiting.row, f"{type(reason).__name__}: {reason}")
        quarantined += 1
    return Landed(rows, new, quarantined)
