"""Words for effort and budgets in tokens, turned into each other where one dialect has words and another numbers.

| effort  | budget |   | budget up to | effort |
| ---     | ---    |   | ---          | ---    |
| none    | 0      |   | 0            | none   |
| minimal | 1024   |   | 1024         | minimal |
| low     | 2048   |   | 4096         | low    |
| medium  | 8192   |   | 12288        | medium |
| high    | 24576  |   | above        | high   |
| xhigh   | 49152  |   |              |        |
| max     | 65536  |   |              |        |

The vendors publish no such table; these are the budgets their own guides use as examples, spaced so that a
budget made from a word gives that word again (above `high`, `high`: few models know more).
"""

from __future__ import annotations

from typing import Final

from gproxy.canonical.request import Effort

BUDGETS: Final = {
    Effort.NONE: 0,
    Effort.MINIMAL: 1024,
    Effort.LOW: 2048,
    Effort.MEDIUM: 8192,
    Effort.HIGH: 24576,
    Effort.XHIGH: 49152,
    Effort.MAX: 65536,
}
_WORDS: Final = ((0, Effort.NONE), (1024, Effort.MINIMAL), (4096, Effort.LOW), (12288, Effort.MEDIUM))


def budget_of(effort: Effort) -> int:
    """A thinking budget in tokens for a word."""
    return BUDGETS[effort]


def effort_of(budget: int) -> Effort:
    """A word for a thinking budget in tokens."""
    return next((word for limit, word in _WORDS if budget <= limit), Effort.HIGH)
