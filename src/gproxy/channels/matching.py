"""Globs over model names, as one compiled pattern."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable


def globs_to_pattern(globs: Iterable[str]) -> re.Pattern[str]:
    """One pattern that matches a whole name when any of the globs does. Case counts."""
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))
