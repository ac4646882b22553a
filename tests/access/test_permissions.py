from __future__ import annotations

import pytest

from gproxy.access.permissions import Allowed, Denied, compile_glob, may_call, may_use_files
from gproxy.access.principal import Permission, Principal
from gproxy.ids import KeyId, UserId


def principal(*rows: tuple[str | None, str], files: frozenset[str] = frozenset()) -> Principal:
    permissions = tuple(Permission(provider, pattern, compile_glob(pattern)) for provider, pattern in rows)
    return Principal(UserId("u"), "alice", False, KeyId("k"), None, None, permissions, (), files, None)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "anything/at.all", True),
        ("gpt-*", "gpt-4.1", True),
        ("gpt-*", "GPT-4.1", False),
        ("gpt-*", "my-gpt-4", False),
        ("gpt-?", "gpt-4", True),
        ("gpt-?", "gpt-41", False),
        ("gpt-[34]*", "gpt-4.1", True),
        ("gpt-[!34]*", "gpt-4.1", False),
        ("a*b*c", "aXXbYYc", True),
        ("gpt-4", "gpt-4\n", False),
        ("gpt-4", "gpt-4o", False),
        ("[", "[", True),
    ],
)
def test_globs_are_full_anchored_and_case_sensitive(pattern: str, name: str, matches: bool) -> None:
    assert (compile_glob(pattern).match(name) is not None) is matches


@pytest.mark.timeout(60)
def test_a_glob_of_many_stars_does_not_backtrack() -> None:
    # An exponential matcher would not come back at all.
    assert compile_glob("*a" * 60 + "b").match("a" * 20_000) is None


@pytest.mark.parametrize(
    ("rows", "name", "provider", "expected"),
    [
        ([], "gpt-4", None, Denied("model")),
        ([], "gpt-4", "main", Denied("provider")),
        ([(None, "gpt-*")], "gpt-4", None, Allowed(None)),
        ([(None, "gpt-*")], "gpt-4", "main", Allowed(None)),
        ([(None, "gpt-*")], "main/gpt-4", None, Allowed(None)),
        ([(None, "main/*")], "main/gpt-4", None, Allowed(None)),
        ([("main", "*")], "gpt-4", None, Allowed(frozenset({"main"}))),
        ([("main", "*")], "main/gpt-4", None, Allowed(frozenset({"main"}))),
        ([("main", "*")], "gpt-4", "other", Denied("provider")),
        ([("main", "claude-*")], "gpt-4", "main", Denied("model")),
        ([("main", "gpt-4")], "other/gpt-4", None, Denied("model")),
        ([("main", "*"), ("spare", "gpt-*")], "gpt-4", None, Allowed(frozenset({"main", "spare"}))),
        ([(None, "gpt-4")], "gpt-4/evil", None, Denied("model")),
    ],
)
def test_rows_are_or_ed_and_bound_to_their_provider(
    rows: list[tuple[str | None, str]], name: str, provider: str | None, expected: object
) -> None:
    assert may_call(principal(*rows), name, provider=provider) == expected


def test_files_need_their_own_row() -> None:
    assert may_use_files(principal((None, "*")), "main") == Denied("file")
    assert may_use_files(principal(files=frozenset({"main"})), "main") == Allowed(None)
