"""The house rules that no linter knows, checked on the syntax tree. `make check` runs it; `tests/dev/test_rules.py` proves it.

What ruff, mypy and import-linter already see (print calls, banned imports, floors) is not repeated here.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT: Final = Path(__file__).resolve().parents[1]
LONGEST_FILE: Final = 700
DRAWERS: Final = frozenset({"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"})
CLOCKS: Final = ("src/gproxy/clock.py", "src/gproxy/ids.py")
REVEALERS: Final = (
    "src/gproxy/secret.py",
    "src/gproxy/access/keys.py",  # the digest under which a key is looked up
    "src/gproxy/admin/clerk.py",  # a key that was just made is shown once
    "src/gproxy/admin/key_routes.py",  # an administrator asked to see a secret, and that is written down
    "src/gproxy/channels/auth/",
    "src/gproxy/channels/overrides.py",  # credentials are checked for what no header can carry
    "src/gproxy/cli/database.py",
    "src/gproxy/config/values.py",  # a DSN is shown with its password taken out
    "src/gproxy/config/settings.py",
    "src/gproxy/seed/",  # a secret of a seed file is checked, and written by an export that was asked for it
    "src/gproxy/storage/",  # the sealed column, the DSN handed to the driver
    "src/gproxy/transport/",  # the proxy's own user and password
    "src/gproxy/runtime/",  # hands the first run's generated secrets to the terminal, once
)
LOG_METHODS: Final = frozenset({"debug", "info", "warning", "error", "critical", "exception", "log"})
LOGGERS: Final = frozenset({"log", "logger", "logging", "logs"})
SECRET_WORDS: Final = ("password", "secret", "api_key", "apikey", "authorization", "private_key", "access_token", "dsn")
SQL_CALLS: Final = frozenset({"execute", "executemany", "executescript", "exec_driver_sql", "text"})

NOQA: Final = re.compile(r"#\s*noqa:\s*([A-Z]+\d+(?:[, ]+[A-Z]+\d+)*)(?:\s+-\s+(.+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach: where, and what to do instead."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed file. `path` is relative to the repository, with forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @property
    def in_package(self) -> bool:
        return self.path.startswith("src/")

    @property
    def in_tests(self) -> bool:
        return self.path.startswith("tests/")

    def excused(self, code: str) -> set[int]:
        """The lines on which this ruff rule is switched off."""
        return {number for number, codes, _ in self.excuses() if code in codes}

    def excuses(self) -> Iterator[tuple[int, list[str], str]]:
        """Every `noqa`: line, codes, reason."""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if found := NOQA.search(line):
                yield number, found[1].replace(",", " ").split(), (found[2] or "").strip()

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call with the dotted name of what is called ("" where it has none)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, dotted(node.func)


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a name or attribute; what an attribute hangs on is `…` when it is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value) or '…'}.{node.attr}"
    return ""


def last(name: str) -> str:
    """The method's own name."""
    return name.rpartition(".")[2]


def tasks_are_named_and_kept(source: Source) -> Iterable[Finding]:
    """A task that nobody holds is collected while it runs, and one without a name cannot be reported as late."""
    if not source.in_package:
        return
    dropped = {id(node.value) for node in ast.walk(source.tree) if isinstance(node, ast.Expr)}
    for call, name in source.calls():
        if last(name) == "create_task":
            if not any(keyword.arg in {"name", None} for keyword in call.keywords):
                yield Finding(source.path, call.lineno, "a task needs a name: create_task(…, name=…)")
            # A TaskGroup keeps its own tasks; everybody else has to hold on to theirs.
            if id(call) in dropped and "group" not in name.lower():
                yield Finding(source.path, call.lineno, "a task needs an owner: keep what create_task returns")


def time_comes_from_the_clock(source: Source) -> Iterable[Finding]:
    """Wall time read in one place can be wound by a test."""
    if not source.in_package or source.path in CLOCKS:
        return
    banned = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today"}
    for call, name in source.calls():
        if name in banned:
            yield Finding(source.path, call.lineno, f"{name}: take a Clock (clock.py)")


def sql_is_never_assembled(source: Source) -> Iterable[Finding]:
    """Values go into SQL as parameters, names come from the table definitions."""
    if not source.in_package:
        return
    for call, name in source.calls():
        if last(name) not in SQL_CALLS or not call.args:
            continue
        lines = range(call.lineno, (call.end_lineno or call.lineno) + 1)
        # Where ruff's own rule was answered with a reason, the line has been looked at.
        if not is_fixed(call.args[0]) and source.excused("S608").isdisjoint(lines):
            told = f"{last(name)}(…): pass values as parameters, not inside the SQL text"
            yield Finding(source.path, call.lineno, told)


def is_number(node: ast.expr) -> bool:
    """Whether it can only be a number; settings of a session (a PRAGMA, a SET) take no parameters."""
    if isinstance(node, ast.Call):
        name = dotted(node.func)
        return name in {"int", "float"} or (name in {"min", "max"} and all(map(is_number, node.args)))
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def is_fixed(node: ast.expr) -> bool:
    """Whether a text is put together from literals and numbers only. What is no text at all is left alone."""
    if isinstance(node, ast.JoinedStr):
        return all(is_number(part.value) for part in node.values if isinstance(part, ast.FormattedValue))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        has_text = any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node))
        return not has_text or (is_literal(node.left) and is_literal(node.right))
    return not (isinstance(node, ast.Call) and last(dotted(node.func)) == "format")


def is_literal(node: ast.expr) -> bool:
    """A literal, a sum of literals, or a choice between literals."""
    if isinstance(node, ast.BinOp):
        return is_literal(node.left) and is_literal(node.right)
    if isinstance(node, ast.IfExp):
        return is_literal(node.body) and is_literal(node.orelse)
    return isinstance(node, ast.Constant)


def files_are_named_for_a_concept(source: Source) -> Iterable[Finding]:
    """A drawer by its name soon holds everything."""
    for part in PurePosixPath(source.path).with_suffix("").parts:
        if part in DRAWERS or set(part.split("_")) & {"utils", "helpers", "helper", "misc"}:
            yield Finding(source.path, 1, f"{part!r} names a drawer: name the concept the code serves")


def files_are_one_sitting(source: Source) -> Iterable[Finding]:
    """Long before the limit a second subject has moved in."""
    lines = source.text.count("\n")
    if source.in_package and lines > LONGEST_FILE:
        yield Finding(source.path, lines, f"{lines} lines: split it by subject (limit {LONGEST_FILE})")


def tests_say_why_they_do_not_run(source: Source) -> Iterable[Finding]:
    """A skip without a reason is a test that was switched off."""
    if not source.in_tests:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for mark in node.decorator_list:
                if dotted(mark) in {"pytest.mark.skip", "pytest.mark.xfail"}:
                    yield Finding(source.path, mark.lineno, f"{dotted(mark)} needs reason=…")
    for call, name in source.calls():
        if name in {"pytest.mark.skip", "pytest.mark.xfail", "pytest.mark.skipif"} and not any(
            keyword.arg == "reason" and not is_blank(keyword.value) for keyword in call.keywords
        ):
            yield Finding(source.path, call.lineno, f"{name} needs reason=…")
        if name in {"pytest.skip", "pytest.xfail"} and (
            not [*call.args, *call.keywords] or any(map(is_blank, call.args))
        ):
            yield Finding(source.path, call.lineno, f"{name} needs a reason")


def is_blank(node: ast.expr) -> bool:
    """Whether it is an empty string literal."""
    return isinstance(node, ast.Constant) and not str(node.value).strip()


def logs_hold_no_secret(source: Source) -> Iterable[Finding]:
    """Redaction in the formatter is the second net; this is the first."""
    if not source.in_package:
        return
    for call, name in source.calls():
        receiver = set(last(name.rpartition(".")[0]).lower().split("_"))
        if last(name) not in LOG_METHODS or not receiver & LOGGERS:
            continue
        for word in secrets_in([*call.args, *(keyword.value for keyword in call.keywords)]):
            yield Finding(source.path, call.lineno, f"{word} in a log call: log its masked() form or its id")


def secrets_in(arguments: Iterable[ast.expr]) -> Iterator[str]:
    """The secret-looking names whose value an argument would show."""
    for argument in arguments:
        masked = {
            id(part)
            for node in ast.walk(argument)
            if isinstance(node, ast.Call) and last(dotted(node.func)) in {"masked", "without_password", "bool", "len"}
            for part in ast.walk(node)
        }
        for node in ast.walk(argument):
            if id(node) in masked:
                continue
            if isinstance(node, ast.Attribute) and node.attr == "reveal":
                yield "reveal()"
            elif isinstance(node, ast.Attribute | ast.Name):
                word = (node.attr if isinstance(node, ast.Attribute) else node.id).lower()
                if word.endswith(SECRET_WORDS):
                    yield word


def secrets_are_revealed_at_the_door(source: Source) -> Iterable[Finding]:
    """A short list of places turns a Secret back into text; everybody else passes it on unopened."""
    if not source.in_package or source.path.startswith(REVEALERS):
        return
    for call, name in source.calls():
        if last(name) == "reveal" and "." in name:
            yield Finding(source.path, call.lineno, "reveal(): pass the Secret on; dev/rules.py lists who may open it")


def opt_outs_have_reasons(source: Source) -> Iterable[Finding]:
    """Once per file and rule is enough: the next reader finds it at the first place."""
    explained = {code for _, codes, reason in source.excuses() if reason for code in codes}
    for number, codes, _ in source.excuses():
        for code in sorted(set(codes) - explained):
            yield Finding(source.path, number, f"noqa: {code} needs a reason: # noqa: {code} - why")
            explained.add(code)


RULES: Final[tuple[Callable[[Source], Iterable[Finding]], ...]] = (
    tasks_are_named_and_kept,
    time_comes_from_the_clock,
    sql_is_never_assembled,
    files_are_named_for_a_concept,
    files_are_one_sitting,
    tests_say_why_they_do_not_run,
    logs_hold_no_secret,
    secrets_are_revealed_at_the_door,
    opt_outs_have_reasons,
)


def judge(path: str, text: str) -> list[Finding]:
    """Every breach in one file."""
    source = Source(path, text, ast.parse(text, path))
    return [finding for rule in RULES for finding in rule(source)]


def main() -> int:
    """Judge the whole tree."""
    files = sorted(file for top in ("src", "tests", "dev") for file in (ROOT / top).rglob("*.py"))
    findings = [found for file in files for found in judge(file.relative_to(ROOT).as_posix(), file.read_text("utf-8"))]
    for finding in findings:
        print(finding)
    print(f"house rules: {len(files)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
