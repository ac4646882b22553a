from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gproxy.vendor.server import VendorServer
from tests.shared import shared_dir


@pytest.fixture
async def vendor(tmp_path: Path) -> AsyncIterator[VendorServer]:
    shared = shared_dir()
    server = VendorServer(
        count_file=tmp_path / "count.jsonl", fixtures=shared / "fixtures" if shared else None, control=True
    )
    await server.start()
    yield server
    await server.close()
