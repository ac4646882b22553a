"""Ids of calls and names of documents in the letters that Converse accepts. Different ones stay different.

Bedrock API reference, "ToolUseBlock" and "DocumentBlock".
"""

from __future__ import annotations

import re
from typing import Final

_NO_ID: Final = re.compile(r"[^A-Za-z0-9_.:-]")
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9 \t\n()\[\]-]")
_BLANKS: Final = re.compile(r"\s+")
_LONGEST_ID: Final = 64
_LONGEST_NAME: Final = 200


class Fitted:
    """Texts in an accepted form. The same text gets the same form, and no two texts share one."""

    __slots__ = ("_forms", "_longest", "_taken")

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._forms: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, text: str, fit: str) -> str:
        """The form of `text`; `fit` is one that holds accepted letters only."""
        form = self._forms.get(text)
        if form is None:
            form = self._forms[text] = self.fresh(fit)
        return form

    def fresh(self, fit: str) -> str:
        """`fit` itself, shortened, or with a number when it is taken."""
        form, number = fit[: self._longest], 1
        while form in self._taken:
            number += 1
            form = f"{fit[: self._longest - 1 - len(str(number))]}-{number}"
        self._taken.add(form)
        return form


class CallIds(Fitted):
    """Ids of tool calls."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_LONGEST_ID)

    def id_of(self, call_id: str) -> str:
        """The id of a call, and of its result."""
        return self.of(call_id, _NO_ID.sub("_", call_id) or "call")


class DocumentNames(Fitted):
    """Names of documents; each document needs one, and no two may have the same."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_LONGEST_NAME)

    def name_of(self, name: str | None) -> str:
        """The name of one more document. The ending goes into `format`, and its dot is not allowed."""
        fit = _BLANKS.sub(" ", _NO_NAME.sub(" ", name or "")).strip()
        return self.fresh(fit or "document")
