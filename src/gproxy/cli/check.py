"""`gproxy check`: could an empty database start from this seed file. Nothing is started or written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gproxy.cli.options import environment_settings
from gproxy.cli.terminal import Complaint
from gproxy.config.sources import stored_fault

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gproxy.seed.problems import Problem
    from gproxy.seed.schema import Seed


def check(flags: Mapping[str, str]) -> int:
    """Print every problem as `file: table[row].key: text` and exit 1, or say what is in the file and exit 0."""
    settings = environment_settings(flags)
    path = settings.config
    seed, problems = _read(path, settings.channels)
    for problem in problems:
        print(f"{path}: {_place(problem)}{problem.text}")
    if problems:
        print(f"{path}: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}")
        return 1
    assert seed is not None
    counts = ((seed.providers, "providers"), (seed.models, "models"), (seed.routes, "routes"), (seed.users, "users"))
    print(f"{path}: valid: {', '.join(f'{len(rows)} {what}' for rows, what in counts)}")
    return 0


def problems_in(path: Path, channels: Path | None) -> list[str]:
    """Every problem of the file as one line each; `channels` is the folder of the operator's own."""
    return [f"{_place(problem)}{problem.text}" for problem in _read(path, channels)[1]]


def _place(problem: Problem) -> str:
    row = "" if problem.row is None else f"[{problem.row}]"
    place = ".".join(part for part in (f"{problem.table}{row}", problem.key) if part)
    return f"{place}: " if place else ""


def _read(path: Path, channels: Path | None) -> tuple[Seed | None, list[Problem]]:
    from gproxy.channels.loader import CatalogError, catalog, catalog_with
    from gproxy.seed.parse import parse
    from gproxy.seed.problems import SeedProblems

    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Complaint(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise Complaint(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
    try:
        known = catalog() if channels is None else catalog_with(channels)
    except CatalogError as error:
        raise Complaint(str(error)) from error
    except OSError as error:
        raise Complaint(f"{channels}: {(error.strerror or 'cannot be read').lower()}") from error
    try:
        return parse(text, os.environ, known, check_setting=stored_fault), []
    except SeedProblems as found:
        return None, found.problems
