"""The data folder: made readable by its owner only, and proven writable before anything relies on it."""

from __future__ import annotations

import os
from pathlib import Path


class Unwritable(Exception):  # noqa: N818 - the state it names is the message
    """The folder cannot be used; the text says why and what to do."""


def prepare(data_dir: Path) -> Path:
    """Make the folder (0700) if it is not there; returns its absolute path. Raises `Unwritable`."""
    path = data_dir.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Unwritable(
            f"the data folder {path} cannot be written ({error.strerror}): "
            "give this user write access or choose another with --data-dir"
        ) from error
    return path
