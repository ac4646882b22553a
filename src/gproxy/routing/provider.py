"""A named upstream: one channel, its settings, and a pool of credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gproxy.channels.overrides import given, settled
from gproxy.channels.vendor import Vendor
from gproxy.ids import CredentialId, ProviderId
from gproxy.routing.caps import Caps
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
    caps: Caps | None = None
    """How much it may be asked for; None: no more than its vendor says."""


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

    @property
    def capped(self) -> bool:
        """Whether some credential of the pool has caps."""
        return any(credential.caps is not None for credential in self.credentials)


KEYLESS: Final = "keyless"
"""The label of the credential that a provider gets when its vendor needs none and none is configured."""


def assemble(
    *,
    provider_id: ProviderId,
    name: str,
    label: str | None,
    enabled: bool,
    vendor: Vendor,
    settings: Mapping[str, Any],
    credentials: tuple[Credential, ...],
    deadlines: Deadlines,
) -> Provider:
    """A provider from its row: settings laid over the channel, addresses taken apart, defaults filled in.

    `deadlines` are the process-wide ones, which settings override one by one. A provider whose vendor needs no
    key and which has no credential gets one without fields (its id is the provider's). Raises `ValueError` naming
    every setting at fault.
    """
    settings = given(settings)
    laid, address = settled(vendor, settings)
    if not credentials and vendor.keyless:
        credentials = (Credential(CredentialId(provider_id), KEYLESS, enabled=True, weight=1, fields={}),)
    return Provider(
        id=provider_id,
        name=name,
        label=label,
        enabled=enabled,
        vendor=laid,
        origin=address.origin,
        base_path=address.path,
        deadlines=_deadlines(deadlines, settings),
        proxy=settings.get("proxy") or None,
        rotation=settings.get("rotation") or settings.get("rotation_strategy") or "round_robin",
        on_disconnect=settings.get("on_disconnect") or "cancel",
        loss=settings.get("loss") or "warn",
        credentials=credentials,
        settings=settings,
    )


def _deadlines(base: Deadlines, settings: Mapping[str, Any]) -> Deadlines:
    names = {"connect": "connect_timeout", "first_byte": "first_byte_timeout", "idle": "idle_timeout"}
    names["total"] = "total_timeout"
    return replace(base, **{name: float(settings[key]) for name, key in names.items() if key in settings})
