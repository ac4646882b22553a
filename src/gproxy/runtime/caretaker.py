"""What happens to a process that serves: SIGHUP reloads it, SIGUSR2 replaces it, systemd hears that it lives."""

from __future__ import annotations

import asyncio
import os
import signal

from gproxy.channels.loader import CatalogError
from gproxy.clock import Clock
from gproxy.runtime import upgrade
from gproxy.runtime.compose import World
from gproxy.runtime.lifecycle import Lifecycle
from gproxy.runtime.notify import Notifier
from gproxy.runtime.supervisor import watch_lifeline, worker_number
from gproxy.runtime.tls import BadCertificate
from gproxy.storage.errors import StorageError


class Caretaker:
    """Owns the tasks that signals start; one reload and one upgrade at a time, later signals of a kind are merged."""

    def __init__(self, world: World, life: Lifecycle, notifier: Notifier, clock: Clock) -> None:
        self._world = world
        self._life = life
        self._notifier = notifier
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the signals, and keep the service manager's watchdog fed."""
        loop.add_signal_handler(signal.SIGHUP, self._begin, "reload")
        loop.add_signal_handler(signal.SIGUSR2, self._begin, "upgrade")
        watch_lifeline(loop, lambda: self._life.stop(signal.SIGTERM))
        if self._notifier.watchdog_interval is not None:
            self._begin("watchdog")

    def stop_upgrading(self) -> None:
        """This process was told to stop: nobody is to take its place."""
        upgrading = self._tasks.get("upgrade")
        if upgrading is not None:
            upgrading.cancel()

    def end(self) -> None:
        """The process is about to exit."""
        for task in self._tasks.values():
            task.cancel()

    def _begin(self, what: str) -> None:
        running = self._tasks.get(what)
        if running is not None and not running.done():
            return
        work = {"reload": self._reload, "upgrade": self._upgrade, "watchdog": self._feed}[what]
        self._tasks[what] = asyncio.get_running_loop().create_task(work(), name=f"caretaker-{what}")

    async def _reload(self) -> None:
        stamp = int(self._clock.monotonic() * 1_000_000)
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={stamp}")
        try:
            await self._world.reload()
        except (StorageError, BadCertificate, CatalogError) as error:
            self._world.log.error("reload refused, the old configuration stays", error=str(error))
        else:
            self._world.log.info("reloaded", revision=self._world.snapshot.revision)
        finally:
            self._notifier.send("READY=1")

    async def _upgrade(self) -> None:
        log = self._world.log
        if worker_number(os.environ):
            # The master has started a successor already.
            self._life.stop(signal.SIGUSR2)
            return
        log.info("upgrade: starting the new process")
        try:
            pid = await upgrade.start_successor(self._world.sockets)
        except upgrade.UpgradeFailed as error:
            log.error("upgrade failed, this process goes on", error=str(error))
            return
        log.info("upgrade: the new process serves, this one drains", successor=pid)
        self._world.shared_sockets = True
        self._notifier.send(f"MAINPID={pid}")
        self._life.stop(signal.SIGUSR2)

    async def _feed(self) -> None:
        interval = self._notifier.watchdog_interval
        assert interval is not None
        while True:
            self._notifier.send("WATCHDOG=1", f"STATUS=serving, {self._world.in_flight()} in flight")
            await asyncio.sleep(interval)
