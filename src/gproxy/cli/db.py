"""`gproxy db`: the schema of the database, without starting the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gproxy.cli.database import opened
from gproxy.cli.options import environment_settings
from gproxy.cli.terminal import Complaint

if TYPE_CHECKING:
    from collections.abc import Mapping


def upgrade(flags: Mapping[str, str]) -> int:
    """Bring the schema to this version."""
    from gproxy.storage.migrate import ensure_schema
    from gproxy.storage.schema_version import HEAD

    async def work() -> None:
        async with opened(environment_settings(flags), create=True) as database:
            changed = await ensure_schema(database)
            print(f"{database.dsn}: {'upgraded to' if changed else 'already at'} schema version {HEAD}")

    asyncio.run(work())
    return 0


def check(flags: Mapping[str, str]) -> int:
    """0 when the schema is this version's; a newer one is a complaint that says what to do."""
    from gproxy.storage.schema_version import HEAD, SchemaState, current_version, schema_state

    async def work() -> int:
        async with opened(environment_settings(flags)) as database:
            state, version = await schema_state(database), await current_version(database)
            if state is SchemaState.CURRENT:
                print(f"{database.dsn}: schema version {version} is current")
                return 0
            have = "no schema yet" if version is None else f"schema version {version}, older than {HEAD}"
            raise Complaint(f"{database.dsn}: {have}; `gproxy db upgrade` brings it to {HEAD}")

    return asyncio.run(work())


def current(flags: Mapping[str, str]) -> int:
    """Print the version and nothing else, for scripts; `none` before the first upgrade."""
    from gproxy.storage.schema_version import current_version

    async def work() -> None:
        async with opened(environment_settings(flags)) as database:
            print(await current_version(database) or "none")

    asyncio.run(work())
    return 0
