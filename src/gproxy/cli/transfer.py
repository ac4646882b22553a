"""`gproxy export` and `gproxy import`: the configuration of a running gateway as a document, out and in."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gproxy.cli.terminal import Complaint, complain, printed_columns

SOURCES: Final = ("litellm", "one-api", "new-api", "gproxy-v1")
"""Whose configurations can be brought in."""

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gproxy.cli.remote import Gateway


def export(gateway: Gateway, *, form: str, with_secrets: bool, output: str | None) -> None:
    """Write the configuration to a file (only its owner may read it) or to standard output."""
    import json

    with waiting("exporting"):
        body = json.dumps({"format": form, "with_secrets": with_secrets}).encode()
        text = gateway.send("POST", "/admin/export", body)
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(file, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise Complaint(f"{output} cannot be written: {error.strerror}") from error
    print(f"written to {output}")


def bring_in(gateway: Gateway, *, source: str | None, file: str, dry_run: bool, as_json: bool) -> None:
    """Bring a document into the configuration and tell what became of it."""
    import json

    if source is None:
        text = _read(file)
        kind = "application/json" if file.endswith(".json") else "application/toml"
    else:
        text, kind = _translated(source, file), "application/toml"
    with waiting("importing"):
        query = {"dry_run": dry_run}
        told: dict[str, Any] = json.loads(gateway.send("POST", "/admin/import", text.encode(), kind, query))
    if as_json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    rows = [(row["action"], row["table"], row["name"], ", ".join(row["fields"])) for row in told["changes"]]
    for line in printed_columns(rows) if rows else ():
        print(line)
    verb = "imported" if told["applied"] else "would be imported"
    print(f"{verb}: {told['created']} new, {told['updated']} changed, {told['same']} as they were")


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except OSError as error:
        raise Complaint(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Complaint(f"{file} is not UTF-8 text") from error


def _translated(source: str, file: str) -> str:
    """Another gateway's configuration as a document of ours; what has no counterpart is told on standard error."""
    if source not in SOURCES:
        raise Complaint(f"--from {source}: there is no such source; known are {', '.join(SOURCES)}", code=2)
    from gproxy.channels.loader import catalog
    from gproxy.seed.render import render
    from gproxy.seed.takeover import NotUnderstood

    channels = catalog()
    try:
        match source:
            case "litellm":
                from gproxy.seed.litellm import from_litellm

                found = from_litellm(_read(file), os.environ, channels)
            case "gproxy-v1":
                from gproxy.seed.gproxy_v1 import from_gproxy_v1

                found = from_gproxy_v1(_read(file), os.environ, channels)
            case _:
                from gproxy.seed.one_api import from_one_api

                found = from_one_api(_tables(file), channels)
    except NotUnderstood as error:
        raise Complaint(*error.problems) from error
    for note in found.notes:
        complain(f"note: {note}")
    return render(found.seed)


def _tables(file: str) -> dict[str, list[dict[str, Any]]]:
    """The tables of a one-api database, read without writing a byte to it."""
    import sqlite3

    from gproxy.seed.one_api import TABLES

    if not Path(file).is_file():
        raise Complaint(f"{file} cannot be read: it must be an SQLite file")
    try:
        with contextlib.closing(sqlite3.connect(f"{Path(file).resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            there = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            return {
                name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")]  # noqa: S608 - names of our own
                for name in TABLES
                if name in there
            }
    except sqlite3.Error as error:
        raise Complaint(f"{file} cannot be read: {error}") from error


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """A moving bar on a terminal for what takes as long as the gateway takes; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(what, total=None)
        yield
