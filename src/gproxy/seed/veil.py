"""A document without its secrets: where one belongs stands `${NAME}`, to be filled from the environment.

The result is a seed file like any other; it says which variables it needs by naming them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gproxy.secret import Secret
from gproxy.seed.render import render
from gproxy.seed.schema import Seed, SeedCredential, SeedKey, SeedProvider, SeedUser

# Code points that no rendering touches and no person types; they become `${` and `}` when all else is written.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_REFERENCE: Final = re.compile(f"{_OPEN}([A-Z0-9_]+){_CLOSE}")
_ODD: Final = re.compile(r"[^A-Z0-9]+")


def render_veiled(seed: Seed) -> str:
    """The document as `render` writes it, with references for secrets and without passwords."""
    providers = tuple(_provider(provider) for provider in seed.providers)
    users = tuple(_user(user) for user in seed.users)
    return _REFERENCE.sub(r"${\1}", render(replace(seed, providers=providers, users=users)))


def _provider(provider: SeedProvider) -> SeedProvider:
    pool = tuple(
        _credential(f"{provider.name}_{number}", credential)
        for number, credential in enumerate(provider.credentials, start=1)
    )
    settings = dict(provider.settings)
    if isinstance(settings.get("proxy"), str) and "@" in settings["proxy"]:  # an address with a password in it
        settings["proxy"] = _reference(f"{provider.name}_proxy").reveal()
    return replace(provider, credentials=pool, settings=settings)


def _credential(name: str, credential: SeedCredential) -> SeedCredential:
    return replace(credential, fields={field: _reference(f"{name}_{field}") for field in credential.fields})


def _user(user: SeedUser) -> SeedUser:
    keys = tuple(_key(f"{user.name}_key_{number}", key) for number, key in enumerate(user.keys, start=1))
    return replace(user, password=None, keys=keys)


def _key(name: str, key: SeedKey) -> SeedKey:
    return replace(key, api_key=_reference(name))


def _reference(name: str) -> Secret:
    word = _ODD.sub("_", name.upper()).strip("_")
    return Secret(f"{_OPEN}GPROXY_{word or 'SECRET'}{_CLOSE}")
