"""The password in a provider's `settings.proxy`: never shown, and kept when what was shown comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_PASSWORD: Final = re.compile(r"^([a-z][a-z0-9+.-]*://[^/?#]*?:)[^/?#]*(@[^/?#@]*)", re.IGNORECASE)
_HIDDEN: Final = "…"


def masked_proxy(url: str) -> str:
    """A proxy's address with dots for its password."""
    return _PASSWORD.sub(rf"\g<1>{_HIDDEN}\g<2>", url)


def masked_settings(settings: Any) -> Any:
    """A provider's settings as people may see them."""
    if isinstance(settings, dict) and isinstance(settings.get("proxy"), str):
        return {**settings, "proxy": masked_proxy(settings["proxy"])}
    return settings


def unmasked_settings(given: Mapping[str, Any], stored: Any) -> Mapping[str, Any]:
    """Settings that were read, changed and sent back: an untouched proxy has its password again."""
    held = stored.get("proxy") if isinstance(stored, dict) else None
    if isinstance(held, str) and given.get("proxy") == masked_proxy(held):
        return {**given, "proxy": held}
    return given
