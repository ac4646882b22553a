"""`gproxy serve`: reads the command line and hands the settings to the runtime.

Its flags are the settings table, so they are read here in a few lines; the command line library, which costs
more than a tenth of the whole start, is loaded only for what these lines do not understand.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from gproxy.cli.terminal import Complaint, bold, complain, wants_colour
from gproxy.config.settings import Origin, Setting, all_settings
from gproxy.config.sources import BadSettings, heard, load, unknown_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEMO_TEXT = "Add a simulated vendor, a user and a key, and print requests that are ready to paste."


@dataclass(frozen=True, slots=True)
class Asked:
    """A command line that was understood: the flags given, by the setting's name."""

    flags: dict[str, str]
    demo: bool


def quick(words: Sequence[str]) -> Asked | None:
    """Read the words after `serve`; None when something in them is not plainly a flag with its value."""
    names = {setting.flag: setting.name for setting in all_settings() if setting.flag}
    flags: dict[str, str] = {}
    demo = False
    rest = iter(words)
    for word in rest:
        if word == "--demo":
            demo = True
            continue
        flag, equals, value = word.partition("=")
        name = names.get(flag)
        if name is None:
            return None
        if not equals:
            following = next(rest, None)
            if following is None:
                return None
            value = following
        flags[name] = value
    return Asked(flags, demo)


def start(flags: Mapping[str, str], env: Mapping[str, str], *, demo: bool) -> int:
    """Run the gateway until it is told to stop; the exit code is the runtime's."""
    try:
        settings = load(flags, env)
    except BadSettings as bad:
        raise Complaint(*bad.problems, code=2) from bad
    for told in unknown_variables(env):
        complain(f"warning: {told}")
    from gproxy.cli.database import dsn_of

    dsn_of(settings)  # an address that cannot be understood is told before anything is started
    from gproxy.runtime.serve import run

    return run(settings, demo=demo)


def show_help(env: Mapping[str, str]) -> int:
    """Every setting with its flag, variable, default, and the value in force with its origin."""
    colour = wants_colour(sys.stdout)
    width = min(shutil.get_terminal_size().columns, 110)
    print(f"""{bold("Usage:", colour=colour)} gproxy serve [--demo] [FLAG VALUE]…

Run the gateway. A flag goes before its variable, the variable before what is stored in the database,
that before the default. Durations: 20, 20s, 500ms, 2m. Sizes: 65536, 64KiB, 50MiB.

  {bold("--demo", colour=colour)}
      {DEMO_TEXT}
  {bold("--help", colour=colour)}
      Show this and exit.""")
    for group, members in groupby(all_settings(), key=lambda setting: setting.group):
        print(f"\n{bold(group.value, colour=colour)}")
        for setting in members:
            head = f"{bold(setting.flag, colour=colour)} {setting.kind.word}, " if setting.flag else ""
            print(f"  {head}{setting.env}")
            for line in textwrap.wrap(_sentence(setting), max(width - 6, 40)):
                print(f"      {line}")
            print(f"      = {_standing(setting, env)}")
    return 0


def _sentence(setting: Setting) -> str:
    return f"{setting.text} Not yet: {setting.missing}." if setting.missing else setting.text


def _standing(setting: Setting, env: Mapping[str, str]) -> str:
    """The value in force and its origin."""
    said = heard(setting, {}, env)
    if said is None:
        return f"{setting.default_text} ({Origin.DEFAULT})"
    text, origin, _ = said
    try:
        shown = setting.kind.show(setting.kind.parse(text))
    except ValueError as error:
        shown = f"not usable: {error}"
    return f"{shown} ({origin}; default {setting.default_text})"
