"""Figures, not tests: `python -m tests.storage.measure [dsn …]`.

A warm start (imports, open, schema check, vault, snapshot) in fresh processes, and bulk inserts into the ledger.
Each address given must be an empty database that may be written to; SQLite in a temporary folder is always measured.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WARM = """
import asyncio, sys, time
import gproxy.channels.loader, gproxy.ledger.record, gproxy.snapshot  # what the process loads in any case
began = time.perf_counter()
from gproxy.storage.engine import connect
from gproxy.storage.migrate import ensure_schema
from gproxy.storage.snapshot import load_snapshot
from gproxy.storage.vault import open_vault
imported = time.perf_counter()
from gproxy.channels.loader import catalog
vendors = catalog()
catalogued = time.perf_counter()
async def main():
    db = await connect(sys.argv[1])
    assert not await ensure_schema(db)
    vault = await open_vault(db, None)
    opened = time.perf_counter()
    await load_snapshot(db, vault, vendors)
    loaded = time.perf_counter()
    await db.close()
    return opened, loaded
opened, loaded = asyncio.run(main())
print(imported - began, catalogued - imported, opened - catalogued, loaded - opened)
"""
SEED = """
[[providers]]
name = "openai-main"
channel = "openai"
credentials = [{ api_key = "sk-up" }]
[[models]]
provider_name = "openai-main"
model_id = "gpt-4.1-mini"
[[users]]
name = "alice"
keys = [{ api_key = "sk-alice-1" }]
[[permissions]]
user_name = "alice"
model_pattern = "*"
"""


async def prepare(dsn: str) -> None:
    from gproxy.channels.loader import catalog
    from gproxy.seed.parse import parse
    from gproxy.storage.engine import connect
    from gproxy.storage.migrate import ensure_schema
    from gproxy.storage.seeding import import_seed
    from gproxy.storage.vault import open_vault

    db = await connect(dsn)
    await ensure_schema(db)
    await import_seed(db, await open_vault(db, None), parse(SEED, {}, catalog()))
    await db.close()


async def insert(dsn: str, batch: int, rows: int) -> float:
    from gproxy.storage.engine import connect
    from gproxy.storage.usage import SqlLedger
    from tests.storage.rows import usage_row

    db = await connect(dsn)
    ledger = SqlLedger(db)
    batches = [
        [usage_row(user_id=f"user-{n % 20}", model_served=f"model-{n % 7}") for n in range(batch)]
        for _ in range(rows // batch)
    ]
    began = time.perf_counter()
    for number, each in enumerate(batches):
        await ledger.insert_usages(each, ("journal", 1, number))
    spent = time.perf_counter() - began
    await db.close()
    return len(batches) * batch / spent


def main(dsns: list[str]) -> None:
    folder = tempfile.mkdtemp()
    for dsn in (f"sqlite:///{folder}/measure.db", *dsns):
        asyncio.run(prepare(dsn))
        runs = []
        for _ in range(9):
            done = subprocess.run([sys.executable, "-c", WARM, dsn], capture_output=True, text=True, check=True)
            runs.append([1000 * float(word) for word in done.stdout.split()])
        parts = [statistics.median(part) for part in zip(*runs, strict=True)]
        print(f"{dsn.partition(':')[0]}: imports of this room {parts[0]:.1f} ms, catalog {parts[1]:.1f} ms, ", end="")
        print(f"open + schema + vault {parts[2]:.1f} ms, snapshot {parts[3]:.1f} ms; best in all ", end="")
        print(f"{min(sum(run) for run in runs):.1f} ms (load {os.getloadavg()[0]:.1f})")
        for batch in (1, 100, 1000):
            rows = max(batch * 10, 300)
            print(f"  batches of {batch}: {asyncio.run(insert(dsn, batch, rows)):,.0f} rows/s")
    for file in Path(folder).iterdir():
        file.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
