from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.process import rig
from tests.process.browsing import chromium
from tests.shared import shared_dir


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Vendor]:
    shared = shared_dir()
    with rig.vendor(tmp_path_factory.mktemp("vendor"), None if shared is None else shared / "fixtures") as made:
        yield made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    """One gateway for a module's tests; those that stop or break it start their own."""
    with rig.gateway(tmp_path_factory.mktemp("gateway"), rig.seed(vendor.port)) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module's tests; each opens its own context."""
    with chromium() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
