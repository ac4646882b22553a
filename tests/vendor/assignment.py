"""Who belongs to whom at the least cost: the assignment problem, for the judge in `reconcile.py`.

Shortest augmenting paths with potentials (Jonker and Volgenant, "A shortest augmenting path algorithm for dense and
sparse linear assignment problems", 1987). Costs are whole numbers, so that the result is exact; they may be negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush


def cheapest(costs: Sequence[Mapping[int, int]]) -> list[int]:
    """Each row's column, so that no two share one and the sum of costs is minimal.

    `costs[row][column]` is there only where the two may be paired. Every row needs a column that nobody else can take.
    """
    column_of = [-1] * len(costs)
    row_at: dict[int, int] = {}
    row_price: list[int] = []
    column_price: dict[int, int] = {}
    for new, options in enumerate(costs):
        row_price.append(min(cost - column_price.get(column, 0) for column, cost in options.items()))
        free, shortest, came_from, closed = _path(new, costs, row_price, column_price, row_at)
        for column in closed:
            gain = shortest[free] - shortest[column]
            column_price[column] = column_price.get(column, 0) - gain
            row_price[row_at[column]] += gain
        row_price[new] += shortest[free]
        column, row = free, -1
        while row != new:
            row = came_from[column]
            row_at[column] = row
            column_of[row], column = column, column_of[row]
    return column_of


def _path(
    start: int,
    costs: Sequence[Mapping[int, int]],
    row_price: Sequence[int],
    column_price: Mapping[int, int],
    row_at: Mapping[int, int],
) -> tuple[int, dict[int, int], dict[int, int], list[int]]:
    """Dijkstra over reduced costs to the nearest free column: that, all distances, how they were reached, what is done."""
    shortest: dict[int, int] = {}
    came_from: dict[int, int] = {}
    closed: list[int] = []
    done: set[int] = set()
    heap: list[tuple[int, int]] = []
    row, so_far = start, 0
    while True:
        for column, cost in costs[row].items():
            reached = so_far + cost - row_price[row] - column_price.get(column, 0)
            if column not in done and reached < shortest.get(column, reached + 1):
                shortest[column] = reached
                came_from[column] = row
                heappush(heap, (reached, column))
        so_far, column = heappop(heap)
        while column in done:
            so_far, column = heappop(heap)
        if column not in row_at:
            return column, shortest, came_from, closed
        done.add(column)
        closed.append(column)
        row = row_at[column]
