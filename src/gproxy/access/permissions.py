"""May this principal call this model? Globs over the name the client sent; no row means no."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Final, Literal

from gproxy.access.principal import Principal


def compile_glob(pattern: str) -> re.Pattern[str]:
    """A full glob (`*`, `?`, `[…]`, `[!…]`) as a regular expression: anchored at both ends, case-sensitive.

    The standard library's translation turns stars into atomic groups, so matching takes time linear in the
    name for each star and cannot be made to backtrack exponentially. An unclosed `[` is a literal bracket.
    """
    return re.compile(fnmatch.translate(pattern))


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may go on; `providers` None means through any provider, otherwise only through these."""

    providers: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Denied:
    """The call ends here; `what` completes the public text `forbidden: …`."""

    what: Literal["model", "provider", "file"]


_ANY: Final = Allowed(None)


def may_call(principal: Principal, name: str, *, provider: str | None = None) -> Allowed | Denied:
    """Whether the principal may call `name`, the model name as the client sent it.

    `provider` is set when the caller named one (scoped path); a `provider/model` name is also tried without
    its first segment for rows bound to that provider or to none, so that `gpt-*` grants a model however it is
    addressed.
    """
    providers: set[str] = set()
    head, slash, tail = name.partition("/")
    provider_has_row = False
    for row in principal.permissions:
        if provider is not None and row.provider_name is not None and row.provider_name != provider:
            continue
        provider_has_row = True
        if row.matcher.match(name) is None and not (
            slash and row.provider_name in {None, head} and row.matcher.match(tail) is not None
        ):
            continue
        if row.provider_name is None:
            return _ANY
        providers.add(row.provider_name)
    if providers:
        return Allowed(frozenset(providers))
    return Denied("model" if provider_has_row or provider is None else "provider")


def may_use_files(principal: Principal, provider: str) -> Allowed | Denied:
    """Whether the principal may use the file API of this provider."""
    return _ANY if provider in principal.file_providers else Denied("file")
