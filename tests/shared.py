"""Where the shared test material lies, if it is there at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_dir() -> Path | None:
    """The folder of recorded traffic beside the checkout (or `GPROXY_SHARED`), or None in a stranger's clone."""
    named = os.environ.get("GPROXY_SHARED")
    candidate = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return candidate if (candidate / "fixtures").is_dir() else None


def require_shared() -> Path:
    """The same for a test that cannot do without: a failure in CI, a visible skip elsewhere."""
    found = shared_dir()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("the shared fixtures are missing; in CI they must be beside the checkout")
        pytest.skip("the shared fixtures are not beside this checkout")
    return found
