"""Generated requests against a living gateway's own OpenAPI document: as many that fit it as that break it."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

import hypothesis
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@dataclass
class Attack:
    """What was sent: how many cases, and how often each status came back."""

    cases: int = 0
    operations: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


def document_of(url: str, key: str) -> Any:
    """The gateway's document, with a caller who may do everything."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    schema.config.update(base_url=url, headers={"authorization": f"Bearer {key}"})
    return schema


def attack(document: Any, examples: int, *, seed: int | None = None, part: tuple[int, int] = (0, 1)) -> Attack:
    """So many generated requests per operation and mode; raises what the first broken promise raises.

    Without a seed they are the same each time. `part` (number, of so many) takes every n-th operation only.
    """
    told = Attack()
    operations = [found.ok() for found in document.get_all_operations()][part[0] :: part[1]]
    told.operations = len(operations)
    for operation, mode in product(operations, _MODES):

        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            derandomize=seed is None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            told.cases += 1
            told.statuses[case.call_and_validate(checks=CHECKS, timeout=30).status_code] += 1

        # Where nothing can be broken (no body, an id of any form) there is nothing to generate.
        with contextlib.suppress(Unsatisfiable):
            (ask if seed is None else hypothesis.seed(seed)(ask))()
    return told
