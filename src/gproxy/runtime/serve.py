"""`gproxy serve`: from settings to an exit code.

Everything the operator sees at the terminal is printed here: the ready line, the first admin (once), the
requests to paste, the summary at the end. Errors of the start are one clear line each, without a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import select
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import uvloop

from gproxy import __version__
from gproxy.channels.loader import CatalogError
from gproxy.clock import SystemClock
from gproxy.config.settings import Settings
from gproxy.config.sources import BadSettings
from gproxy.ids import new_id
from gproxy.ledger.recovery import rows_left
from gproxy.runtime import upgrade
from gproxy.runtime.caretaker import Caretaker
from gproxy.runtime.compose import World, build, listening_sockets
from gproxy.runtime.files import Unwritable
from gproxy.runtime.lifecycle import Bounds, Lifecycle, State, Stop
from gproxy.runtime.logs import Level, Log, wants_text
from gproxy.runtime.notify import Notifier
from gproxy.runtime.report import EXIT_CLEAN, EXIT_LEFT_BEHIND, DrainReport
from gproxy.runtime.supervisor import Supervisor, worker_number
from gproxy.runtime.tls import BadCertificate
from gproxy.runtime.watchdog import Watchdog
from gproxy.seed.problems import SeedProblems
from gproxy.server.listener import BindError
from gproxy.storage.errors import StorageError

if TYPE_CHECKING:
    from gproxy.runtime.demo import Demo

EXIT_REFUSED: Final = 1
_REFUSALS: Final = (Unwritable, BindError, BadCertificate, BadSettings, StorageError, OSError)


def run(settings: Settings, *, demo: bool) -> int:
    """Run the gateway until it is told to stop; the process's exit code.

    0: clean · 75: rows were left in the journal or a worker was late, nothing is lost · 70: a bug · 1: the start
    was refused.
    """
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    # The demo is one process: its vendor lives in it.
    master = settings.workers > 1 and not demo and not worker_number(os.environ)
    code = loop.run_until_complete(_supervise(settings) if master else _serve(settings, demo=demo))
    # Not through the interpreter's own end: it would join executor and driver threads that may hang, and
    # everything that had to be flushed is flushed.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


async def _supervise(settings: Settings) -> int:
    log = _log(settings)
    try:
        sockets, _ = listening_sockets(settings)
    except BindError as error:
        return _refuse([str(error)])
    bounds = Bounds(settings.shutdown_delay, settings.drain_timeout, settings.worker_timeout)
    code = await Supervisor(settings.workers, sockets, bounds, log).run()
    log.close()
    return code


def _log(settings: Settings) -> Log:
    as_text = wants_text(settings.log_format)
    return Log(
        SystemClock(),
        level=Level[settings.log_level.upper()],
        as_json=not as_text,
        colour=as_text and _coloured(),
    )


async def _serve(settings: Settings, *, demo: bool) -> int:
    clock = SystemClock()
    log = _log(settings)
    notifier = Notifier(os.environ)
    watchdog = Watchdog()

    def bounds() -> Bounds:
        if life.signal_name == signal.SIGUSR2.name:
            # A successor serves already and nobody waits for us: streams may run as long as they may run at all.
            return Bounds(0.0, max(settings.drain_timeout, settings.total_timeout), settings.worker_timeout)
        return Bounds(settings.shutdown_delay, settings.drain_timeout, settings.worker_timeout)

    def entered(state: State) -> None:
        if state is State.LAME_DUCK:
            watchdog.arm(bounds().total)
            notifier.send("STOPPING=1", "STATUS=shutting down")
        if state is not State.READY:
            log.info("shutdown", state=state.value, in_flight=len(world.in_flight_requests))
        if state is State.DRAINING:
            # systemd's own stop timeout may be shorter than the drain that was asked for.
            notifier.send(f"EXTEND_TIMEOUT_USEC={int(bounds().total * 1_000_000)}")

    life = Lifecycle(clock, on_third=lambda: os._exit(EXIT_LEFT_BEHIND), on_state=entered)
    life.install(asyncio.get_running_loop())
    world = World(settings, log, lambda: life.state.value)
    try:
        beside = _demo() if demo else None
        await life.start(build(world, before_snapshot=None if beside is None else beside.prepare))
    except Stop:
        left = rows_left(world.journals, enough=1) > 0
        log.info("stopped while starting", signal=life.signal_name, rows_left=left)
        return EXIT_LEFT_BEHIND if left else EXIT_CLEAN
    except CatalogError as error:
        return _refuse(f"{settings.channels}/{problem}" for problem in error.problems)
    except SeedProblems as problems:
        return _refuse(f"{settings.config}: {problem}" for problem in problems.problems)
    except _REFUSALS as error:
        return _refuse([str(error)])

    # What lives as long as the process is no business of the collector any more; requests leave few cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    caretaker = Caretaker(world, life, notifier, clock)
    caretaker.install(asyncio.get_running_loop())
    watchdog.listen(lambda: bounds().total)
    upgrade.tell_ready(os.environ)
    upgrade.forget(os.environ)  # type: ignore[arg-type]  # os.environ is a dict in all but type
    notifier.send("READY=1", f"MAINPID={os.getpid()}", f"STATUS=serving on {_url(world)}")
    previous = await world.previous_report()
    if previous is not None:
        log.info("previous shutdown", report=previous)
    _greet(world, None if beside is None else beside.key.reveal())
    # Reading and writing dialects is imported now, beside serving, so that the first translated request does not wait.
    preloading = asyncio.get_running_loop().run_in_executor(None, _load_translation)
    await life.wait_for_signal()
    caretaker.stop_upgrading()

    report = DrainReport(new_id(), world.journal.id, life.signal_name, clock.now_us())
    await life.shutdown(world, bounds(), report)
    caretaker.end()
    preloading.cancel()
    if beside is not None:
        await beside.close()
    log.info("stopped", **{name: value for name, value in report.fields().items() if name != "id"})  # type: ignore[arg-type]
    log.close()
    _print(report.summary())
    return report.exit_code


def _load_translation() -> None:
    from gproxy.protocols.registry import DIALOGUES, OUTBOUND

    importlib.import_module("gproxy.translate.hub")
    list(DIALOGUES.values())
    list(OUTBOUND.values())


def _demo() -> Demo:
    from gproxy.runtime.demo import Demo

    return Demo()


def _port(world: World) -> str:
    name = world.sockets[0].getsockname()
    return str(name[1]) if isinstance(name, tuple) else str(name)


def _url(world: World) -> str:
    settings = world.settings
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    host = settings.host
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{_port(world)}"


def _greet(world: World, demo_key: str | None) -> None:
    """The ready line, what was made on the first run (shown once, never logged), and a request to paste."""
    if worker_number(os.environ) > 1:
        return  # the first one has said it all
    url = _url(world)
    lines = [f"gproxy {__version__} listening on {url}/"]
    admin = world.admin
    if admin is not None:
        lines += ["", f"  {'admin reset' if admin.reset else 'first admin'}: {admin.name}   (shown once, keep it safe)"]
        if admin.password is not None:
            lines.append(f"    password  {admin.password.reveal()}")
        if admin.api_key is not None:
            lines.append(f"    API key   {admin.api_key.reveal()}")
    if demo_key is not None:
        lines += [
            "",
            "  A simulated vendor answers. Paste this into another terminal:",
            "",
            f"    curl -N {url}/v1/chat/completions \\",
            f"      -H 'Authorization: Bearer {demo_key}' -H 'Content-Type: application/json' \\",
            """      -d '{"model":"demo-model","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'""",
        ]
    elif not world.snapshot.providers:
        lines += ["", "  No provider is configured yet. Write a seed file (docs/configuration.md) and start with it,"]
        lines += ["  or try `gproxy serve --demo`."]
    else:
        lines += ["", f"  curl {url}/v1/models -H 'Authorization: Bearer <one of your keys>'"]
    lines += ["", "  Stop with Ctrl+C: requests in flight finish first.", ""]
    _print("\n".join(lines))


def _refuse(problems: Iterable[str]) -> int:
    for problem in problems:
        _print(f"gproxy: {problem}", to=sys.stderr.fileno())
    return EXIT_REFUSED


def _print(text: str, to: int = 1) -> None:
    """To the terminal; one that is gone is no reason to fail, one that takes nothing is no reason to wait."""
    data = text.encode("utf-8", "replace") + b"\n"
    with contextlib.suppress(OSError, ValueError):
        # A pipe that is ready has room for PIPE_BUF bytes, so no write here can block.
        for at in range(0, len(data), select.PIPE_BUF):
            if not select.select([], [to], [], 0.05)[1]:
                return
            os.write(to, data[at : at + select.PIPE_BUF])


def _coloured() -> bool:
    return not os.environ.get("NO_COLOR")
