"""A named upstream: one channel, its settings, and a pool of credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gproxy.channels.vendor import Vendor
from gproxy.ids import CredentialId, ProviderId
from gproxy.secret import Secret
from gproxy.wire.http import Deadlines, Origin


@dataclass(frozen=True, slots=True)
class Credential:
    """One secret of a provider's pool. `fields` are the secret parts by name (`api_key`, `access_key_id`, …)."""

    id: CredentialId
    label: str | None
    enabled: bool
    weight: int
    fields: dict[str, Secret]


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of `providers` with its credentials, resolved against the channel's catalog entry.

    `origin` and `base_path` come from `base_url` with any trailing `/` and version segment (`/v1`, `/v1beta`)
    removed, so that an operator may write either. `proxy` None means the process-wide one.
    """

    id: ProviderId
    name: str
    label: str | None
    enabled: bool
    vendor: Vendor
    origin: Origin
    base_path: str
    deadlines: Deadlines
    proxy: str | None
    rotation: str
    on_disconnect: str
    loss: str
    credentials: tuple[Credential, ...]
    settings: dict[str, Any] = field(default_factory=dict)
