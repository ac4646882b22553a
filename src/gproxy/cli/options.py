"""Settings as command line options: made from the one table, so that no command describes a setting again."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

import typer

from gproxy.cli.terminal import Complaint
from gproxy.config.settings import Settings, all_settings
from gproxy.config.sources import BadSettings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def settled(flags: Mapping[str, str], env: Mapping[str, str]) -> Settings:
    """The settings in force, or a complaint with every problem in them."""
    try:
        return load(flags, env)
    except BadSettings as bad:
        raise Complaint(*bad.problems, code=2) from bad


def with_flags(command: Callable[..., int], *names: str) -> Callable[..., None]:
    """The command with these settings' flags (`*`: all of them) beside its own parameters.

    The command gets the flags that were given as its first argument, by the setting's name. What it returns is
    the exit code.
    """
    settings = [each for each in all_settings() if each.flag and (names == ("*",) or each.name in names)]

    def run(**given: Any) -> None:
        flags = {each.name: given.pop(each.name) for each in settings}
        raise typer.Exit(command({name: text for name, text in flags.items() if text is not None}, **given))

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    options = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=str | None,
            default=typer.Option(
                None,
                each.flag or "",
                metavar=each.kind.word,
                help=f"{each.text} [{each.env}; default: {each.default_text}]",
                show_default=False,
            ),
        )
        for each in settings
    ]
    parameters = [*(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own), *options]
    run.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def environment_settings(flags: Mapping[str, str]) -> Settings:
    """The settings of this process's own environment under these flags."""
    return settled(flags, os.environ)
