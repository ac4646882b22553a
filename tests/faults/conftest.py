from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.lanes import Cell, Lanes


@pytest.fixture(scope="module")
def lanes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    """The module's experiments under way, those that were chosen and no others."""
    parameters = [
        item.callspec.params.get("cell")
        for item in request.session.items
        if item.nodeid.partition("::")[0] == request.node.nodeid
        and isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
    ]
    chosen = [cell for cell in parameters if isinstance(cell, Cell)]
    made = Lanes(chosen, tmp_path_factory.mktemp("lanes"))
    yield made
    made.close()
