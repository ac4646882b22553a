"""Experiments side by side: most of them mostly wait. Each is one test with its own verdict all the same.

    MATRIX = Matrix()

    @MATRIX.cell("A03", engines=ENGINES)
    async def buffered_answers_arrive(lab): ...

    @pytest.mark.parametrize("cell", MATRIX.params())
    def test_shutdown(cell, lanes): lanes.result(cell)

Cells whose `soak` is true (or engines named in `soak_engines`) only run with the soak marker.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.faults.lab import Lab, lab

WIDTH: Final = int(os.environ.get("GPROXY_LANES", "4"))
Experiment = Callable[[Lab], Awaitable[None]]
SOAK: Final = os.environ.get("GPROXY_SOAK") == "1"


@dataclass(frozen=True)
class Cell:
    """One experiment on one engine with one signal."""

    row: str
    run: Experiment
    engine: str
    number: signal.Signals
    proxied: bool

    @property
    def id(self) -> str:
        """Its name in reports."""
        name = f"{self.row}-{self.run.__name__}-{self.engine}"
        return name if self.number is signal.SIGTERM else f"{name}-{self.number.name}"


@dataclass
class Matrix:
    """The cells of a module."""

    cells: list[tuple[Cell, bool]] = field(default_factory=list)

    def cell(
        self,
        row: str,
        *,
        engines: Iterable[str] = ("sqlite",),
        soak_engines: Iterable[str] = (),
        signals: Iterable[signal.Signals] = (signal.SIGTERM,),
        proxied: bool = False,
        soak: bool = False,
    ) -> Callable[[Experiment], Experiment]:
        """Add an experiment; the first signal runs on every engine, further ones only in the soak."""

        def add(run: Experiment) -> Experiment:
            for at, number in enumerate(signals):
                for engine in engines:
                    self.cells.append((Cell(row, run, engine, number, proxied), soak or at > 0))
                for engine in soak_engines:
                    self.cells.append((Cell(row, run, engine, number, proxied), True))
            return run

        return add

    def params(self) -> list[object]:
        """For `pytest.mark.parametrize`."""
        return [
            pytest.param(cell, id=cell.id, marks=[pytest.mark.soak] if soak and not SOAK else [])
            for cell, soak in self.cells
        ]


class Lanes:
    """Runs the chosen cells of a module, `WIDTH` at a time, in one loop beside the tests that ask for the results."""

    def __init__(self, cells: list[Cell], folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lanes", daemon=True)
        self._thread.start()
        self._folder = folder
        self._width = asyncio.Semaphore(WIDTH)
        self._futures = {
            cell.id: asyncio.run_coroutine_threadsafe(self._run(cell, at), self._loop) for at, cell in enumerate(cells)
        }

    async def _run(self, cell: Cell, at: int) -> None:
        async with self._width:
            folder = self._folder / f"{at:03d}"
            async with lab(folder, cell.engine, number=cell.number, proxied=cell.proxied) as made:
                await cell.run(made)

    def result(self, cell: Cell) -> None:
        """Wait for one cell; raises what it raised."""
        try:
            self._futures[cell.id].result()
        except concurrent.futures.CancelledError:
            pytest.fail("the experiment was cancelled")

    def close(self) -> None:
        """End what is still under way (after a failure with -x)."""

        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.get_running_loop().shutdown_default_executor()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
