"""Quirks change what they are named for, leave the rest, and say when they did nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gproxy.channels.quirks import QUIRKS, Facts, apply_quirks

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("cap_as_max_tokens", {"max_completion_tokens": 9, "a": 1}, {"a": 1, "max_tokens": 9}),
        ("cap_as_max_tokens", {"max_completion_tokens": 9, "max_tokens": 5}, {"max_tokens": 5}),
        (
            "developer_as_system",
            {"messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}]},
            {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]},
        ),
        ("without_stream_options", {"stream_options": {"include_usage": True}, "a": 1}, {"a": 1}),
        (
            "anthropic_on_vertex",
            {"model": "claude", "stream": True, "max_tokens": 1},
            {"stream": True, "max_tokens": 1, "anthropic_version": "vertex-2023-10-16"},
        ),
        (
            "anthropic_count_on_vertex",
            {"model": "claude"},
            {"model": "claude", "anthropic_version": "vertex-2023-10-16"},
        ),
        (
            "anthropic_on_bedrock",
            {"model": "claude", "stream": True, "max_tokens": 1},
            {"max_tokens": 1, "anthropic_version": "bedrock-2023-05-31"},
        ),
    ],
)
def test_what_changes(name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    kept = copy.deepcopy(before)
    assert apply_quirks([name], before, Facts()) == after
    assert before == kept


@pytest.mark.parametrize("name", ["cap_as_max_tokens", "developer_as_system", "without_stream_options"])
def test_nothing_to_do_gives_back_the_same_object(name: str) -> None:
    for body in (CHAT, {}, {"messages": "x"}, {"messages": [1, None]}):
        assert QUIRKS[name](body, Facts()) is body


def test_a_callers_own_version_and_betas_stay() -> None:
    body = {"anthropic_version": "bedrock-x", "anthropic_beta": ["a", "b"]}
    done = apply_quirks(["anthropic_on_bedrock"], body, Facts(betas=("b", "c")))
    assert done == {"anthropic_version": "bedrock-x", "anthropic_beta": ["a", "b", "c"]}
