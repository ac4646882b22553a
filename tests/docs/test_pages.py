"""The pages say what is: settings, commands, links, examples and dependencies are compared with the code."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from dev.docs import PAGES
from gproxy.channels.loader import catalog
from gproxy.cli.commands import app
from gproxy.config.settings import all_settings
from gproxy.config.sources import stored_fault
from gproxy.seed.parse import parse

ROOT = Path(__file__).resolve().parents[2]
MARKDOWN = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("changes/*.md"), *ROOT.glob("src/**/*.md"))
)
OTHER_VARIABLES = {
    "GPROXY_URL",
    "GPROXY_API_KEY",
    "GPROXY_DEBUG",
    "GPROXY_SHARED",
    "GPROXY_TEST_POSTGRES",
    "GPROXY_TEST_MYSQL",
    "GPROXY_TEST_REDIS",
}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("page", MARKDOWN, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


@pytest.mark.parametrize("page", MARKDOWN, ids=named)
def test_every_variable_that_is_named_is_read(page: Path) -> None:
    known = {setting.env for setting in all_settings()} | OTHER_VARIABLES
    assert set(re.findall(r"\bGPROXY_[A-Z_]+\b", page.read_text("utf-8"))) <= known


@pytest.mark.parametrize("page", MARKDOWN, ids=named)
def test_every_make_target_and_command_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    below = {group.name: {c.name for c in group.typer_instance.registered_commands} for group in app.registered_groups}  # type: ignore[union-attr]  # every group here has one
    commands = {command.name for command in app.registered_commands} | set(below)
    text = page.read_text("utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for command, sub in re.findall(r"(?:^|`|bin/)gproxy ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE):
        assert command in commands
        assert command not in below or not sub or sub in below[command]


@pytest.mark.parametrize("page", MARKDOWN, ids=named)
def test_every_flag_in_a_gproxy_line_exists(page: Path) -> None:
    known = {setting.flag for setting in all_settings()} | {"--demo", "--json", "--help", "--version"}
    known |= set(
        re.findall(r"""[("]*"(--[a-z-]+)[",]""", (ROOT / "src/gproxy/cli/remote_commands.py").read_text("utf-8"))
    )
    for line in re.findall(r"gproxy(?: [a-z]+)+( --.*)", page.read_text("utf-8")):
        assert set(re.findall(r"--[a-z][a-z-]*", line.partition("`")[0])) <= known, line


def seeds() -> list[tuple[str, str]]:
    pages = [(named(page), block) for page in MARKDOWN for block in blocks(page, "toml") if "[[providers]]" in block]
    return [("examples/gproxy.toml", (ROOT / "examples/gproxy.toml").read_text("utf-8")), *pages]


@pytest.mark.parametrize(("name", "text"), seeds(), ids=[name for name, _ in seeds()])
def test_a_seed_that_is_shown_can_be_imported(name: str, text: str) -> None:
    env = dict.fromkeys(re.findall(r"(?<!\$)\$\{([A-Z_0-9]+)\}", text), "sk-test-value")
    seed = parse(text, env, catalog(), check_setting=stored_fault)
    assert seed.providers


def test_the_example_shows_every_table() -> None:
    shown = tomllib.loads((ROOT / "examples/gproxy.toml").read_text("utf-8"))
    # What this version does not enforce is not shown as if it did.
    assert set(shown) == {"global", "providers", "models", "model_aliases", "routes", "users", "permissions"}


@pytest.mark.parametrize("block", blocks(ROOT / "README.md", "python"))
def test_the_python_that_is_shown_compiles(block: str) -> None:
    compile(block, "README.md", "exec")


def test_every_dependency_has_its_line_and_nothing_else_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = {
        "Runtime": project["project"]["dependencies"],
        "Optional": [each for extra in project["project"]["optional-dependencies"].values() for each in extra],
        "Development": project["dependency-groups"]["dev"],
    }
    names = {part: {re.split(r"[^A-Za-z0-9_.-]", each)[0] for each in listed} for part, listed in wanted.items()}
    names["Development"] -= names["Optional"]
    page = (ROOT / "docs/decisions/dependencies.md").read_text("utf-8")
    for part, text in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| `([^`]+)` \|([^|]+)\|([^|]+)\|([^|]+)\|([^|]+)\|$", text, re.MULTILINE)
        assert {row[0] for row in rows} == names.pop(part)
        assert all(cell.strip() for row in rows for cell in row)
    assert not names


def test_fragments_are_named_by_issue_and_kind() -> None:
    for path in (ROOT / "changes").iterdir():
        assert path.name == "README.md" or re.fullmatch(r"\d+\.(feature|fix|removal|doc)\.md", path.name), path.name


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs/decisions").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("name", [".ci/run", "dev/bootstrap"])
def test_what_is_run_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


def test_every_room_says_what_it_owns() -> None:
    for page in (ROOT / "src/gproxy").glob("*/README.md"):
        text = page.read_text("utf-8").lower()
        assert "own" in text, page
        assert "never" in text, page
