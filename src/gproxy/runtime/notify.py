"""systemd's notification protocol and socket activation (sd_notify(3), sd_listen_fds(3)).

One datagram to `$NOTIFY_SOCKET` per message. No library: the kept ones are either LGPL or unmaintained, and the
protocol is this file. A missing or broken socket never disturbs the service.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final

_FIRST_FD: Final = 3


class Notifier:
    """Sends state changes to the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        usec = environ.get("WATCHDOG_USEC", "")
        pid = environ.get("WATCHDOG_PID", "")
        wanted = usec.isdigit() and int(usec) > 0 and (not pid or pid == str(os.getpid()))
        self.watchdog_interval: float | None = int(usec) / 2_000_000 if wanted else None
        """Seconds between `WATCHDOG=1` messages: half of what the manager allows; None when it does not watch."""

    def send(self, *lines: str) -> None:
        """Send assignments such as `READY=1`, all in one datagram."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto("\n".join(lines).encode("utf-8"), self._address)
        except OSError:
            return


def activated_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that the service manager hands over (`LISTEN_PID`, `LISTEN_FDS`); usually none."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return []
    found: list[socket.socket] = []
    for fd in range(_FIRST_FD, _FIRST_FD + int(count)):
        os.set_inheritable(fd, False)
        inherited = socket.socket(fileno=fd)
        inherited.setblocking(False)
        found.append(inherited)
    return found
