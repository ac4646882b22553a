"""The table of commands, for the command line library. Each command's own file is imported when it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gproxy.cli import serve
from gproxy.cli.options import with_flags
from gproxy.cli.remote_commands import Json, add_commands

if TYPE_CHECKING:
    from collections.abc import Callable

_HELP: Final = {"help_option_names": ["-h", "--help"]}


def _typer(help_text: str, *, completion: bool = False) -> typer.Typer:
    return typer.Typer(
        help=help_text,
        rich_markup_mode=None,  # the plain help is on the screen in half the time
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=completion,
        context_settings=_HELP,
    )


app: Final = _typer("One self-hosted endpoint in front of every LLM provider.", completion=True)
db: Final = _typer("Look after the database schema.")
journal: Final = _typer("Look into the journal of usage records.")
app.add_typer(db, name="db")
app.add_typer(journal, name="journal")


def _serve(flags: dict[str, str], demo: Annotated[bool, typer.Option("--demo", help=serve.DEMO_TEXT)] = False) -> int:
    """Run the gateway."""
    return serve.start(flags, os.environ, demo=demo)


def _check(flags: dict[str, str]) -> int:
    """Validate a seed file.

    Tells every problem with table, row and key; starts and writes nothing.
    """
    from gproxy.cli.check import check

    return check(flags)


def _doctor(flags: dict[str, str], as_json: Json = False) -> int:
    """Test what the gateway needs to run.

    Settings, seed file, data folder, disk, clock, database, journal, port, open files. Changes nothing.
    """
    from gproxy.cli.doctor import doctor

    return doctor(flags, as_json=as_json)


def _version(flags: dict[str, str]) -> int:
    """Print the version."""
    del flags  # it takes none
    from gproxy import __version__

    print(f"gproxy {__version__}")
    return 0


def _upgrade(flags: dict[str, str]) -> int:
    """Bring the schema to this version."""
    from gproxy.cli.db import upgrade

    return upgrade(flags)


def _schema_check(flags: dict[str, str]) -> int:
    """Exit 0 when the schema is current, else 1."""
    from gproxy.cli.db import check

    return check(flags)


def _current(flags: dict[str, str]) -> int:
    """Print the schema version of the database."""
    from gproxy.cli.db import current

    return current(flags)


def _inspect(flags: dict[str, str], as_json: Json = False) -> int:
    """Tell what is in the journal."""
    from gproxy.cli.journal import inspect

    return inspect(flags, as_json=as_json)


def _replay(flags: dict[str, str]) -> int:
    """Write the journal into the database.

    As every start does. Journals of a gateway that is running are left to it.
    """
    from gproxy.cli.journal import replay

    return replay(flags)


def _add(home: typer.Typer, name: str, command: Callable[..., int], *settings: str) -> None:
    home.command(name)(with_flags(command, *settings))


_add(app, "serve", _serve, "*")
_add(app, "check", _check, "config")
_add(app, "doctor", _doctor, "*")
_add(app, "version", _version)
_add(db, "upgrade", _upgrade, "dsn", "data_dir")
_add(db, "check", _schema_check, "dsn", "data_dir")
_add(db, "current", _current, "dsn", "data_dir")
_add(journal, "inspect", _inspect, "data_dir")
_add(journal, "replay", _replay, "dsn", "data_dir", "secret_key")
add_commands(app, _typer)


def run(words: list[str]) -> int:
    """Parse and run; usage errors are told by the library and end with 2."""
    try:
        app(words, prog_name="gproxy")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
