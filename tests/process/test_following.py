"""Three processes on one database: what is changed through one is obeyed by the others."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process import rig
from tests.process.test_admin import SEED, admin, chat

pytestmark = pytest.mark.process


def test_a_change_through_one_is_obeyed_by_all(tmp_path: Path, vendor: rig.Vendor) -> None:
    with ExitStack() as stack:
        houses: list[rig.Gateway] = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            dsn = f"sqlite:///{tmp_path / 'shared.db'}"
            houses.append(stack.enter_context(rig.gateway(folder, rig.seed(vendor.port, SEED), "--dsn", dsn)))
        first, *others = houses
        for wanted, enabled in ((404, False), (200, True)):
            admin(first, "PATCH", "/admin/providers/main", {"enabled": enabled})
            for house in others:

                def obeys(house: rig.Gateway = house, wanted: int = wanted) -> bool | None:
                    return True if chat(house, rig.ALICE)[0] == wanted else None

                rig.await_that(obeys, house, "the change")
