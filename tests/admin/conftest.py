"""The control plane in this process, over a real SQLite database and a scripted vendor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gproxy.admin.app import build_app
from gproxy.admin.ports import Ports
from gproxy.clock import SystemClock
from gproxy.config.settings import Settings
from gproxy.runtime.admin_ports import ports_of
from gproxy.runtime.compose import World
from gproxy.runtime.logs import Level, Log
from gproxy.secret import Secret
from gproxy.storage import users as u
from gproxy.storage.changes import config_write
from gproxy.storage.engine import connect
from gproxy.storage.migrate import upgrade
from gproxy.storage.sealing import hash_password
from gproxy.storage.vault import open_vault
from tests.admin.vendor import ScriptedVendor

PASSWORD = "correct horse battery staple"
ROOT_KEY = "sk-root-0123456789abcdef"
ALICE_KEY = "sk-alice-0123456789abcdef"
BOB_KEY = "sk-bob-0123456789abcdef"
URL = "http://gateway.test"


@dataclass
class House:
    """A world, the application over it, and people in it."""

    world: World
    vendor: ScriptedVendor
    app: Any

    def client(self, token: str | None = None, *, address: str = "192.0.2.1", **headers: str) -> httpx2.AsyncClient:
        """A caller of the control plane; `token` is a key or a session."""
        given = {**({"authorization": f"Bearer {token}"} if token else {}), **headers}
        transport = httpx2.ASGITransport(app=self.app, client=(address, 1234))
        return httpx2.AsyncClient(transport=transport, base_url=URL, headers=given)

    async def login(self, name: str, password: str = PASSWORD) -> dict[str, Any]:
        async with self.client() as client:
            answer = await client.post("/login", json={"username": name, "password": password})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(Secret(PASSWORD))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database that was migrated once; each test works on a copy."""
    from tests.storage.conftest import on_own_loop

    path = tmp_path_factory.mktemp("admin") / "empty.db"
    on_own_loop(upgrade(f"sqlite:///{path}"))
    return path.read_bytes()


@dataclass
class Stage:
    """The application, built once: the framework takes a quarter of a second. Each test refits its ports."""

    ports: Ports | None = None
    app: Any = None

    def over(self, world: World) -> Any:
        fresh = ports_of(world, lambda: None)
        if self.ports is None:
            self.ports, self.app = fresh, build_app(fresh)
        for each in fields(Ports):
            object.__setattr__(self.ports, each.name, getattr(fresh, each.name))
        return self.app


@pytest.fixture(scope="session")
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def house(tmp_path: Path, empty_database: bytes, password_hash: str, stage: Stage) -> AsyncIterator[House]:
    path = tmp_path / "gproxy.db"
    await asyncio.to_thread(path.write_bytes, empty_database)
    log = Log(SystemClock(), level=Level.ERROR, as_json=True, fd=os.open(os.devnull, os.O_WRONLY))
    world = World(Settings(trusted_proxies=("10.0.0.0/8",)), log, lambda: "ready")
    world.db = await connect(f"sqlite:///{path}")
    world.vault = await open_vault(world.db, Secret("a test's own secret key"))
    async with config_write(world.db) as tx:
        for name, key, is_admin in (("root", ROOT_KEY, True), ("alice", ALICE_KEY, False), ("bob", BOB_KEY, False)):
            user = await u.create_user(tx, world.vault, name=name, password_hash=password_hash, is_admin=is_admin)
            await u.create_key(tx, world.vault, user_id=user.id, api_key=Secret(key), label="first")
    await world.load()
    vendor = ScriptedVendor()
    world.upstream = vendor  # type: ignore[assignment]  # all that is asked of it is the port
    yield House(world, vendor, stage.over(world))
    await world.db.close()
    log.close()


@pytest.fixture
async def root(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    """An administrator, by API key."""
    async with house.client(ROOT_KEY) as client:
        yield client
