"""The page beside this file says what is proven where; here it is held against the code."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROWS = {"A": 35, "B": 13, "C": 12}
_ROW = re.compile(r"^\| ([A-D]\d\d) \| .+ \| (.+) \|$", re.MULTILINE)


def page() -> dict[str, list[str]]:
    """Row by row, the names of its proofs."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return {row: re.findall(r"`([^`]+)`", proofs) for row, proofs in _ROW.findall(text)}


def cells() -> dict[str, set[str]]:
    """Each cell's function, and the rows that it names (stacked decorators included)."""
    found: dict[str, set[str]] = {}
    for module in HERE.glob("test_*.py"):
        for block in re.findall(
            r"((?:@MATRIX\.cell\([^@]+?\)\n)+)async def (\w+)\(", module.read_text(encoding="utf-8")
        ):
            rows = re.findall(r'cell\(\s*"([^"]+)"', block[0])
            found.setdefault(block[1], set()).update(row for names in rows for row in names.split())
    return found


def test_every_row_is_on_the_page_once() -> None:
    wanted = [f"{letter}{number:02d}" for letter, count in ROWS.items() for number in range(1, count + 1)]
    text = (HERE / "README.md").read_text(encoding="utf-8")
    assert [row for row, _ in _ROW.findall(text)] == wanted


def test_what_the_page_names_exists() -> None:
    made = cells()
    missing = []
    for row, proofs in page().items():
        for proof in proofs:
            path, _, name = proof.rpartition("::")
            if proof.startswith("make "):
                target = proof.split()[1]
                missing += [] if f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8") else [(row, proof)]
            elif path:
                text = (ROOT / path).read_text(encoding="utf-8")
                missing += [] if re.search(rf"def {name}\(", text) else [(row, proof)]
            elif name not in made:
                missing.append((row, proof))
    assert missing == []


def test_every_cell_is_on_the_page_under_its_row() -> None:
    told = page()
    absent = [
        (row, name)
        for name, rows in cells().items()
        for row in rows
        if row[0] in ROWS and name not in told.get(row, [])
    ]
    assert absent == []
    assert len(cells()) > 60


def test_every_row_has_a_proof() -> None:
    assert [row for row, proofs in page().items() if not proofs] == []
