"""Where `gproxy` begins. The shortest ways come first: what needs no command line library does not load one."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit code: 0 ok, 1 refused or invalid, 2 usage; `serve` has its own (docs/settings.md)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["version"], ["--version"]):
        from gproxy import __version__

        print(f"gproxy {__version__}")
        return 0
    from gproxy.cli.terminal import Complaint, complain

    try:
        return _run(given)
    except Complaint as complaint:
        for line in complaint.lines:
            complain(line)
        return complaint.code
    except BrokenPipeError:
        # Whoever read our output has left (`| head`); that is no error, and there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("GPROXY_DEBUG"):
            raise
        complain(f"internal error: {type(error).__name__}: {error} (GPROXY_DEBUG=1 shows where)")
        return 1


def _run(given: list[str]) -> int:
    if given[:1] == ["serve"]:
        _hear_signals()
        from gproxy.cli import serve

        if not {"-h", "--help"}.isdisjoint(given):
            return serve.show_help(os.environ)
        asked = serve.quick(given[1:])
        if asked is not None:
            return serve.start(asked.flags, os.environ, demo=asked.demo)
    from gproxy.cli.commands import run

    return run(given)


def _hear_signals() -> None:
    """Until the lifecycle's own handlers stand, some hundred milliseconds of imports from now.

    A stop signal ends the process cleanly: nothing has begun. As process 1 it would not be heard at all without a
    handler. The others would end the process by default; until it serves there is nothing to reload or to hand over.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
