"""`${NAME}` inside texts becomes the variable's value; `$${` is a literal `${`.

Done on the parsed document, so that no value of a variable can change its structure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def filled(value: Any, env: Mapping[str, str], complain: Callable[[str, str], None], path: str = "") -> Any:
    """The value with every reference in every text replaced. `complain(path, sentence)` for what cannot be."""
    if isinstance(value, str):
        return _text(value, env, lambda sentence: complain(path, sentence)) if "${" in value else value
    if isinstance(value, list):
        return [filled(each, env, complain, f"{path}[{index + 1}]") for index, each in enumerate(value)]
    if isinstance(value, dict):
        return {key: filled(each, env, complain, f"{path}.{key}" if path else key) for key, each in value.items()}
    return value


def _text(text: str, env: Mapping[str, str], complain: Callable[[str], None]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if name is None or not _VARIABLE.fullmatch(name):
            complain("${…} must hold the name of an environment variable (write $${ for a literal ${)")
        elif name in env:
            return env[name]
        else:
            complain(f"the environment variable {name} is not set")
        return ""

    return _REFERENCE.sub(replace, text)


def escaped(text: str) -> str:
    """The text written so that reading it back gives the same text."""
    return text.replace("${", "$${")
