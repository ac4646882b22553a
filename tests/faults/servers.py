"""Database servers of an experiment's own, to be killed and started again; the machine's are nobody's to harm.

PostgreSQL refuses to run as root, so under root both run as the users their packages made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

from tests.faults import engines
from tests.faults.engines import Link, Place
from tests.process import rig

_PATIENCE: Final = 60.0
_USERS: Final = {"postgres": "postgres", "mysql": "mysql"}


class Server:
    """One server in a folder of its own, on a port of its own."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.engine = engine
        self._folder = folder
        self._user = _USERS[engine] if os.geteuid() == 0 else None
        self._popen: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        login = "postgresql://postgres" if engine == "postgres" else "mysql://root"
        self.place = Place(engine, f"{login}@127.0.0.1:{self._port}/{'postgres' if engine == 'postgres' else 'mysql'}")

    def make(self) -> None:
        """An empty server's files."""
        data = self._folder / "data"
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        if self.engine == "postgres":
            command = [_tool("initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync"]
            self._run(command, user=self._user)
        else:
            command = [_tool("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db"]
            command += ["--auth-root-authentication-method=normal", *([f"--user={self._user}"] if self._user else [])]
            self._run(command)

    @staticmethod
    def _run(command: Sequence[str], user: str | None = None) -> None:
        done = subprocess.run(
            command, user=user, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-3000:]

    async def start(self) -> None:
        """Run it; returns when it answers."""
        data = self._folder / "data"
        if self.engine == "postgres":
            command = [_tool("postgres"), "-D", str(data), "-p", str(self._port), "-k", str(self._folder)]
            command += ["-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB"]
        else:
            command = [_tool("mariadbd"), "--no-defaults", f"--datadir={data}", f"--port={self._port}"]
            command += [
                "--bind-address=127.0.0.1",
                f"--socket={self._folder / 'sock'}",
                "--innodb-buffer-pool-size=16M",
            ]
            command += ["--innodb-log-file-size=16M", "--innodb-use-native-aio=0"]
        self._popen = await asyncio.to_thread(self._spawn, command)
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                link = await Link.open(self.place, transaction=False)
            except Exception:  # whatever its driver makes of a server that is on its way up
                assert self._popen.poll() is None, (self._folder / "log").read_text()[-2000:]
                assert time.monotonic() < end, "the database server did not come up"
                await asyncio.sleep(0.02)
            else:
                await link.close()
                return

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, user=self._user, cwd="/", stdout=log, stderr=log)

    async def end(self, number: signal.Signals) -> None:
        """SIGKILL is its power failing; SIGINT (PostgreSQL) and SIGTERM (MariaDB) stop it in order."""
        assert self._popen is not None
        self._popen.send_signal(number)
        await asyncio.to_thread(self._popen.wait)

    @property
    def orderly(self) -> signal.Signals:
        """The signal that ends it at once and in order, sessions or not."""
        return signal.SIGINT if self.engine == "postgres" else signal.SIGTERM

    def close(self) -> None:
        """Gone, whatever state it is in."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()


@asynccontextmanager
async def server(engine: str) -> AsyncIterator[Server]:
    """A server that runs; its files are removed at the end. Needs the engine's programs on this machine."""
    rig.needed(f"the {engine} programs", there=all(_found(name) for name in _TOOLS[engine]))
    # Not below the test's own folder: that is closed to the users these servers run as.
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="gproxy-server-"))
    made = Server(engine, folder)
    try:
        await asyncio.to_thread(made.make)
        await made.start()
        yield made
    finally:
        made.close()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@asynccontextmanager
async def database(made: Server) -> AsyncIterator[Place]:
    """A database in a server of one's own."""
    async with engines.database(made.engine, Path(), made.place.dsn) as place:
        yield place


_TOOLS: Final = {"postgres": ("initdb", "postgres"), "mysql": ("mariadb-install-db", "mariadbd")}


def _found(name: str) -> str | None:
    places: Sequence[Path] = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, places), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which(name, path=path)


def _tool(name: str) -> str:
    found = _found(name)
    assert found is not None, name
    return found


class Redis:
    """A Redis of the experiment's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._popen: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        rig.needed("redis-server", there=shutil.which("redis-server") is not None)
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self._folder)]
        self._popen = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(OSError):
                if await self.tell("PING") == b"+PONG\r\n":
                    return self
            assert time.monotonic() < end, "redis-server did not come up"
            await asyncio.sleep(0.02)

    async def tell(self, *words: str) -> bytes:
        """One command; the first line of its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(" ".join(words).encode() + b"\r\n")
            return await reader.readline()
        finally:
            writer.close()

    async def __aexit__(self, *_: object) -> None:
        if self._popen is not None:
            self._popen.kill()
            await asyncio.to_thread(self._popen.wait)
