"""Both loops: uvloop is what runs in production, the stock loop is what a stranger's platform may have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from gproxy.transport.client import TransportConfig, UpstreamClient
from tests.transport.certificates import Authority


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient()
    yield client
    await client.close(time.monotonic())


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def tls_client(authority: Authority) -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(TransportConfig(ca_file=str(authority.ca_file)))
    yield client
    await client.close(time.monotonic())
