"""The cheapest assignment is the one that trying them all finds."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from tests.vendor.assignment import cheapest


def tried(costs: list[dict[int, int]]) -> int:
    columns = sorted({column for options in costs for column in options})
    sums = (
        sum(options[column] for options, column in zip(costs, some, strict=True))
        for some in permutations(columns, len(costs))
        if all(column in options for options, column in zip(costs, some, strict=True))
    )
    return min(sums)


@pytest.mark.parametrize("seed", range(200))
def test_no_assignment_costs_less(seed: int) -> None:
    dice = random.Random(seed)
    rows, shared = dice.randint(1, 4), dice.randint(0, 4)
    costs = []
    for row in range(rows):
        options = {column: dice.randint(-9, 9) for column in range(shared) if dice.random() < 0.6}
        costs.append({**options, shared + row: dice.randint(0, 12)})
    taken = cheapest(costs)
    assert len(set(taken)) == rows
    assert sum(costs[row][column] for row, column in enumerate(taken)) == tried(costs)


def test_nothing_to_assign() -> None:
    assert cheapest([]) == []
