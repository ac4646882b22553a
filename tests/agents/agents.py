"""The coding agents: how each is called without a terminal, and how it reads and edits files.

A session is the same for all: look at two files, change one word in the first, say so. The vendor's part of it is
scripted, call by call; the agent's part is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROMPT: Final = "Replace the word alpha by beta in notes.txt"
BEFORE: Final = "first alpha\nlast line\n"
AFTER: Final = "first beta\nlast line\n"
OTHER: Final = "something else: naïve 東京\n"
FAREWELL: Final = "The word is zanzibar."

Turn = tuple[dict[str, Any], dict[str, str]]
"""What the vendor says, and to which request it says it (globs)."""


@dataclass(frozen=True)
class Agent:
    """One agent. `arguments` follow the command that the page on clients gives."""

    section: str
    command: str
    dialect: str
    arguments: str
    turns: Callable[[Path, Path], list[Turn]]
    """The vendor's part of a session with these two files."""
    swap: tuple[str, str] = ("", "")
    """What the page says may stand instead of something in its boxes: the other way of pointing this agent."""
    strays: tuple[str, ...] = ()
    """Where it goes beside the gateway although it was told not to; globs on first lines of requests to a proxy."""

    @property
    def name(self) -> str:
        """What a test is called after."""
        return f"{self.command}-{self.dialect}"


def _use(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


def _by_tools(
    look: Callable[[Path], dict[str, Any]], edit: Callable[[Path], dict[str, Any]]
) -> Callable[[Path, Path], list[Turn]]:
    """Two calls at once, then one after some thought, then the end; each waits for what the tools gave back."""

    def turns(notes: Path, other: Path) -> list[Turn]:
        looks = [look(notes), look(other)]
        return [
            ({"calls": looks}, {"tools": f"* {looks[0]['tool']} *"}),
            (
                {"calls": [edit(notes)], "text": "I see.", "reasoning": 3},
                {"results": "*first alpha*last line*something else: naïve 東京*"},
            ),
            ({"text": FAREWELL}, {"results": "?*"}),
        ]

    return turns


def _by_text(notes: Path, other: Path) -> list[Turn]:
    del other
    return [({"text": f"{FAREWELL}\n\n{notes.name}\n```\n{AFTER}```"}, {})]


_OPENCODE: Final = _by_tools(
    look=lambda file: _use("read", filePath=str(file)),
    edit=lambda file: _use("edit", filePath=str(file), oldString="alpha", newString="beta"),
)

AGENTS: Final = (
    Agent(
        "Claude Code", "claude", "anthropic_messages", f"-p '{PROMPT}' --permission-mode acceptEdits",
        _by_tools(
            look=lambda file: _use("Read", file_path=str(file)),
            edit=lambda file: _use("Edit", file_path=str(file), old_string="alpha", new_string="beta"),
        ),
    ),
    Agent(
        "Codex CLI", "codex", "openai_responses",
        f"exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox '{PROMPT}'",
        _by_tools(
            look=lambda file: _use("exec_command", cmd=f"cat '{file}'"),
            edit=lambda file: _use("exec_command", cmd=f"sed -i s/alpha/beta/ '{file}'"),
        ),
    ),
    Agent(
        "Gemini CLI", "gemini", "gemini", f"--skip-trust --approval-mode yolo -p '{PROMPT}'",
        _by_tools(
            look=lambda file: _use("read_file", file_path=str(file)),
            edit=lambda file: _use(
                "replace", file_path=str(file), instruction=PROMPT, old_string="alpha", new_string="beta"
            ),
        ),
    ),
    Agent(
        "opencode", "opencode", "openai_chat", f"run '{PROMPT}'", _OPENCODE,
        strays=("CONNECT registry.npmjs.org:443 *",),  # its plugin kit; nothing turns that off
    ),
    Agent(
        "opencode", "opencode", "anthropic_messages", f"run '{PROMPT}'", _OPENCODE,
        swap=("@ai-sdk/openai-compatible", "@ai-sdk/anthropic"),
        strays=("CONNECT registry.npmjs.org:443 *",),
    ),
    Agent(
        "aider", "aider", "openai_chat", f"--yes --no-git --message '{PROMPT}' notes.txt", _by_text,
        strays=("CONNECT raw.githubusercontent.com:443 *",),  # its list of models; nothing turns that off
    ),
)  # fmt: skip
