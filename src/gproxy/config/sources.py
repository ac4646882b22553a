"""From flags, environment and stored settings to one `Settings`, remembering where each value came from.

A flag goes before a variable, a variable before what the database holds, that before the default. All mistakes
are told at once, each with the flag, the variable and the fix. Reads nothing itself: every source is an argument.
"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from gproxy.config.settings import Origin, Setting, Settings, all_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PREFIX: Final = "GPROXY_"


class BadSettings(Exception):  # noqa: N818 - it is what the operator wrote, not a fault of ours
    """Settings that cannot be used. `problems` has one sentence for each, fit for an operator's eyes."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def load(flags: Mapping[str, str], env: Mapping[str, str]) -> Settings:
    """The settings in force before the database is open: `flags` are by the setting's name, `env` by variable.

    Both are as people write them. Raises `BadSettings` with every problem there is.
    """
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    problems: list[str] = []
    for setting in all_settings():
        said = heard(setting, flags, env)
        if said is None:
            continue
        text, origin, by = said
        try:
            values[setting.name] = setting.kind.parse(text)
        except ValueError as error:
            problems.append(f"{by}: {error} (default: {setting.default_text})")
            continue
        origins[setting.name] = origin
    if not problems:
        settings = Settings(**values, origins=origins)
        problems.extend(_contradictions(settings))
    if problems:
        raise BadSettings(problems)
    return settings


def overlaid(settings: Settings, stored: Mapping[str, object]) -> Settings:
    """The same settings with what the database holds, where neither flag nor variable said anything.

    `stored` is by the setting's name, each value as people write it or a plain number (of seconds, of bytes). One that
    cannot be used raises `BadSettings`, naming it.
    """
    values: dict[str, Any] = {}
    origins = dict(settings.origins)
    problems: list[str] = []
    for setting in all_settings():
        value = stored.get(setting.name)
        if not setting.stored or value is None or settings.explicit(setting.name):
            continue
        try:
            values[setting.name] = setting.kind.parse(str(value))
        except ValueError as error:
            problems.append(f"stored setting {setting.name} (overridden by {setting.named}): {error}")
            continue
        origins[setting.name] = Origin.STORED
    if problems:
        raise BadSettings(problems)
    return replace(settings, **values, origins=origins)


def heard(setting: Setting, flags: Mapping[str, str], env: Mapping[str, str]) -> tuple[str, Origin, str] | None:
    """What the operator said for this run: the text, the source, and how to name it in a complaint."""
    if (text := flags.get(setting.name)) is not None:
        return text, Origin.FLAG, f"{setting.flag} (or {setting.env})"
    if (text := env.get(setting.env)) and not _service_link(setting, text):
        flag = f" (or {setting.flag})" if setting.flag else ""
        return text, Origin.ENV, f"{setting.env}{flag}"
    return None


def _service_link(setting: Setting, text: str) -> bool:
    """Kubernetes gives every pod `<SERVICE>_PORT=tcp://…`; beside a service called gproxy that is not our port."""
    return setting.name == "port" and text.startswith(("tcp://", "udp://", "sctp://"))


def _contradictions(settings: Settings) -> Iterable[str]:
    for setting in all_settings():
        # Accepting what has no effect would be a promise that is not kept. What is stored was checked when saved.
        if setting.missing and settings.explicit(setting.name) and getattr(settings, setting.name) != setting.default:
            yield f"{setting.named}: {setting.missing}; leave it out"
    if (settings.tls_cert is None) != (settings.tls_key is None):
        yield "--tls-cert / GPROXY_TLS_CERT and --tls-key / GPROXY_TLS_KEY: give both or neither"
    if settings.uds is not None and (settings.explicit("host") or settings.explicit("port")):
        yield "--uds / GPROXY_UDS: a Unix socket replaces --host and --port; give one or the other"


def stored_fault(name: str, text: str) -> str | None:
    """Why this value cannot be stored for a setting, or None; names that are no settings are left to others."""
    for setting in all_settings():
        if setting.name == name and setting.stored:
            try:
                setting.kind.parse(text)
            except ValueError as error:
                return str(error)
    return None


def unknown_variables(env: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a misspelt setting; others with our prefix are left alone."""
    known = {setting.env for setting in all_settings()}
    told = []
    for name in sorted(env):
        if name.startswith(_PREFIX) and name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.85)
            if close:
                told.append(f"{name} is not a setting; did you mean {close[0]}?")
    return told
