"""Database addresses: which engine, where, and which options. Pure; nothing is opened here.

Accepted: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://./x.db?mode=rwc`, `postgres://`,
`postgresql://`, `mysql://`, `mariadb://`. A `+driver` after the scheme is accepted and ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

Engine = Literal["sqlite", "postgres", "mysql"]

_ENGINES: Final[dict[str, Engine]] = {
    "sqlite": "sqlite",
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
}
_SQLITE_MODES: Final = frozenset({"rwc", "rw", "ro"})


class BadDsn(ValueError):  # noqa: N818 - named for the thing that is wrong
    """The address cannot be understood; the text names the fix and never holds the password."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """One parsed address. For SQLite only `path` and `options` mean something."""

    engine: Engine
    path: Path = Path()
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def option(self, name: str, default: str | None = None) -> str | None:
        """The value of a query parameter; the last one wins."""
        return dict(self.options).get(name, default)

    def __str__(self) -> str:
        """The address as people may see it: without the password and the options."""
        if self.engine == "sqlite":
            return f"sqlite at {self.path.absolute()}"
        return f"{self.engine} at {self.host}:{self.port}/{self.database}"


def parse_dsn(text: str) -> Dsn:
    """Read an address. Raises `BadDsn`."""
    scheme, colon, rest = text.partition(":")
    engine = _ENGINES.get(scheme.partition("+")[0].lower())
    if not colon or engine is None:
        raise BadDsn("the database address must begin with sqlite://, postgres:// or mysql://")
    if engine == "sqlite":
        return _sqlite(rest)
    parts = urlsplit(f"{engine}:{rest}")
    try:
        port = parts.port
    except ValueError as error:
        raise BadDsn("the port of the database address is not a number") from error
    if not parts.hostname:
        raise BadDsn("the database address names no host: postgres://user:password@host:5432/database")
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise BadDsn("the database address names no database: end it with /name")
    return Dsn(
        engine,
        host=parts.hostname,
        port=port or (5432 if engine == "postgres" else 3306),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database,
        options=tuple(parse_qsl(parts.query, keep_blank_values=True)),
    )


def _sqlite(rest: str) -> Dsn:
    name, _, query = rest.partition("?")
    # Three slashes are a relative path and four an absolute one; two and a name come from other tools' form.
    if name.startswith("//"):
        name = name[2:].removeprefix("/")
    path = unquote(name)
    if not path or path.startswith(":memory:"):
        raise BadDsn("an in-memory database cannot be shared by connections; name a file: sqlite:///data/gproxy.db")
    if "\0" in path:
        raise BadDsn("the database path holds a NUL character")
    options = tuple(parse_qsl(query, keep_blank_values=True))
    mode = dict(options).get("mode", "rwc")
    if mode not in _SQLITE_MODES:
        raise BadDsn(f"mode={mode} is not known: use rwc, rw or ro")
    return Dsn("sqlite", path=Path(path), options=options)


def sqlite_uri(dsn: Dsn) -> str:
    """The `file:` URI that SQLite itself opens."""
    mode = dsn.option("mode", "rwc") or "rwc"
    return f"file:{quote(str(dsn.path.absolute()))}?{urlencode({'mode': mode})}"
