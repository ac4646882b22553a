from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agents.session import World
from tests.agents.strays import Strays
from tests.process import rig

PROVIDER = """
[[providers]]
name = "{dialect}"
channel = "custom"
settings = {{ base_url = "http://127.0.0.1:{vendor}", dialect = "{dialect}" }}
credentials = [ {{ api_key = "{key}" }} ]

[[models]]
provider_name = "{dialect}"
model_id = "agent-{dialect}"
price = {{ input = 1.0, output = 2.0 }}
"""
DIALECTS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A vendor of four dialects behind a gateway, and a proxy for whoever wants to go elsewhere."""
    with rig.vendor(tmp_path_factory.mktemp("vendor")) as vendor:
        more = "".join(PROVIDER.format(dialect=name, vendor=vendor.port, key=rig.VENDOR_KEY) for name in DIALECTS)
        with rig.gateway(tmp_path_factory.mktemp("gateway"), rig.seed(vendor.port, more)) as gateway:
            strays = Strays()
            yield World(vendor, gateway, strays)
            strays.close()
