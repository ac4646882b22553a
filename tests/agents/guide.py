"""The page on clients, read as instructions: the boxes under one heading, filled in and ready to be followed.

What the page tells people is what the tests do, so the page cannot go stale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_BOX: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"`([^`]+)`")


@dataclass
class Guide:
    """What a section says to do: files to write (their paths as written), a script to run in a shell or in Python."""

    files: dict[str, str] = field(default_factory=dict)
    shell: str = ""
    python: str = ""


def guide(section: str, *, url: str, key: str, model: str) -> Guide:
    """The instructions of a section, with the reader's own address, key and model filled in."""
    pieces = _SECTION.split(PAGE.read_text(encoding="utf-8"))
    text = pieces[pieces.index(section) + 1]
    for placeholder, value in (("http://127.0.0.1:8787", url), ("sk-your-key", key), ("your-model", model)):
        assert placeholder in text, f"the section on {section} does not say where {placeholder} goes"
        text = text.replace(placeholder, value)
    found = Guide()
    for box in _BOX.finditer(text):
        kind, content = box.groups()
        if kind == "sh":
            found.shell = content
        elif kind == "python":
            found.python = content
        else:
            # The line before such a box names the file.
            named = _FILE.search(text[: box.start()].rstrip().rsplit("\n", 1)[-1])
            assert named is not None, f"a {kind} box on {section} belongs to no file"
            found.files[named.group(1)] = content
    return found
