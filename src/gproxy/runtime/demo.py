"""`gproxy serve --demo`: a simulated vendor beside the gateway, and a provider, a model, a user and a key for it."""

from __future__ import annotations

import json
from typing import Final

from gproxy.runtime.compose import World
from gproxy.secret import Secret
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.changes import config_write
from gproxy.vendor.server import DEMO, VendorServer

NAME: Final = "demo"
MODEL: Final = "demo-model"


class Demo:
    """Owns the vendor; `prepare` is called when the database is open and before the world is read from it."""

    def __init__(self) -> None:
        self.vendor = VendorServer(default=DEMO)
        self.key = Secret("")

    async def prepare(self, world: World) -> None:
        """Start the vendor and see to it that the database knows it. Raises `OSError` when it cannot listen."""
        port = await self.vendor.start("127.0.0.1", 0)
        settings = json.dumps({"base_url": f"http://127.0.0.1:{port}"})
        async with config_write(world.db) as tx:
            provider = await p.PROVIDERS.find(tx, name=NAME)
            if provider is None:
                provider = await p.create_provider(tx, name=NAME, channel=NAME, settings=json.loads(settings))
                await p.create_credential(tx, world.vault, provider_id=provider.id, fields={"api_key": Secret("demo")})
                pricing = {"price": {"input": 1.0, "output": 2.0}}
                await p.create_model(tx, provider_id=provider.id, model_id=MODEL, pricing=pricing)
            else:
                await p.PROVIDERS.change(tx, provider.id, {"settings_json": settings})
            user = await u.USERS.find(tx, name=NAME)
            if user is None:
                user = await u.create_user(tx, world.vault, name=NAME, password_hash=None)
                await u.grant(tx, user_id=user.id, provider_id=provider.id, model_pattern="*")
            keys = await u.KEYS.all(tx, user_id=user.id, enabled=True)
            if keys:
                self.key = u.reveal_key(world.vault, keys[0])
            else:
                _, made = await u.create_key(tx, world.vault, user_id=user.id, label="demo")
                assert made is not None
                self.key = made

    async def close(self) -> None:
        """Stop the vendor."""
        await self.vendor.close()
