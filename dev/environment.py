"""Makes `.venv` match `uv.lock`, with a pinned uv kept in `.tools`. Standard library only; called by `dev/bootstrap`.

Two sets: `run` is what the gateway needs, `dev` adds what tests and checks need. The environment only ever
grows: asking for `run` where `dev` is installed changes nothing, so that `make serve` and `make test` do not
undo each other. A stamp in `.venv` remembers what was installed from which lock; when it still fits, no uv is
started and nothing is asked of the network.

pip and uv follow the caller's own configuration (indexes, certificates, proxies). Where that names another
index than the lock does, the locked versions and hashes are installed from there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

UV_VERSION: Final = "0.13.9"
ROOT: Final = Path(__file__).resolve().parents[1]
EXTRAS: Final = ("mysql", "postgres", "redis")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked to be installed. Ordered by inclusion: `a <= b` means b has all of a."""

    dev: bool
    extras: frozenset[str]

    def __le__(self, other: Wanted) -> bool:
        return self.dev <= other.dev and self.extras <= other.extras

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(self.dev or other.dev, self.extras | other.extras)

    def arguments(self) -> list[str]:
        """As uv's `sync` and `export` understand it."""
        extras = [word for extra in sorted(self.extras) for word in ("--extra", extra)]
        return ([] if self.dev else ["--no-default-groups"]) + extras


class Stopped(Exception):  # noqa: N818 - the message is all there is to it
    """Cannot go on; the text says why and what to do."""


def lock_key(root: Path) -> str:
    """Changes when the lock, the project file, the Python or this way of installing does."""
    digest = hashlib.sha256(f"{UV_VERSION} {sys.version_info[:2]}".encode())
    for name in ("uv.lock", "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def installed(root: Path) -> tuple[str, Wanted]:
    """The stamp: from which lock, and what. An unreadable or missing one says nothing is there."""
    try:
        stamp = json.loads((root / ".venv" / "gproxy-stamp.json").read_text())
        return stamp["key"], Wanted(stamp["dev"], frozenset(stamp["extras"]))
    except (OSError, ValueError, KeyError, TypeError):
        return "", Wanted(dev=False, extras=frozenset())


def run(command: list[str], environment: dict[str, str]) -> None:
    """Run it in the open; its own words say what is wrong."""
    try:
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    except FileNotFoundError as error:
        raise Stopped(f"{command[0]} is not there") from error
    except subprocess.CalledProcessError as error:
        raise Stopped(f"this failed: {' '.join(command)}") from error


def version_of(uv: str) -> str:
    """What a uv says of itself; "" when it does not run."""
    try:
        said = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said[1] if len(said) > 1 else ""


def has(module: str) -> bool:
    """Whether this Python can import it. Debian ships Python without `ensurepip` and without pip."""
    return importlib.util.find_spec(module) is not None


def pinned_uv(root: Path, environment: dict[str, str], has: Callable[[str], bool] = has) -> str:
    """The path of the pinned uv, installed if need be: by whichever of pip and uv this machine can offer."""
    home = root / ".tools" / "uv"
    ours = str(home / "bin" / "uv")
    system = shutil.which("uv") or ""
    for uv in (ours, system):
        if uv and version_of(uv) == UV_VERSION:
            return uv
    shutil.rmtree(home, ignore_errors=True)
    wanted = f"uv=={UV_VERSION}"
    pip = {**environment, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if has("ensurepip"):
        run([sys.executable, "-m", "venv", str(home)], environment)
        run([str(home / "bin" / "python"), *install, wanted], pip)
    elif has("pip"):
        run([sys.executable, *install, "--target", str(home), wanted], pip)
    elif system:
        run(
            [system, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(home), wanted],
            environment,
        )
    else:
        raise Stopped(
            f"{sys.executable} has neither pip nor the means to install it, and there is no uv on PATH.\n"
            "  Debian, Ubuntu: apt install python3-venv      then run make again"
        )
    if version_of(ours) != UV_VERSION:
        raise Stopped(f"the installed {ours} does not run")
    return ours


def other_index(environment: dict[str, str]) -> str | None:
    """The index to use instead of the lock's own, if the caller's configuration names one."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if found := environment.get(name):
            return found
    if not has("pip"):
        return None
    asked = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "get", "global.index-url"]
    told = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def commands(uv: str, python: str, wanted: Wanted, index: str | None) -> list[list[str]]:
    """What to run, in order. From the lock's own index in one step; from another one by its exported hashes."""
    if index is None:
        return [[uv, "sync", "--locked", "--python", python, *wanted.arguments()]]
    exported = ".tools/requirements.txt"
    return [
        [uv, "venv", "--allow-existing", "--quiet", "--python", python, ".venv"],
        [uv, "export", "--frozen", "--quiet", "--no-emit-project", "--output-file", exported, *wanted.arguments()],
        [uv, "pip", "sync", "--python", ".venv", "--require-hashes", exported],
        [uv, "pip", "install", "--quiet", "--python", ".venv", "--no-deps", "--editable", "."],
    ]


def uv_environment(environment: dict[str, str], index: str | None) -> dict[str, str]:
    """The caller's environment, so far as uv needs telling."""
    changed = {
        **environment,
        "UV_PROJECT_ENVIRONMENT": ".venv",
        "UV_PYTHON_DOWNLOADS": "never",  # the Python is the machine's own
        "UV_COMPILE_BYTECODE": "1",  # the first start is a warm one
    }
    changed.pop("VIRTUAL_ENV", None)  # an environment activated elsewhere is none of our business
    if index is not None:
        changed["UV_DEFAULT_INDEX"] = index
    if certificate := environment.get("PIP_CERT"):
        changed.setdefault("SSL_CERT_FILE", certificate)
    return changed


def compile_sources(root: Path) -> None:
    """Bytecode for our own package too, where writing it is allowed; the first start is then a warm one."""
    quiet = [str(root / ".venv" / "bin" / "python"), "-m", "compileall", "-q", "src"]
    subprocess.run(quiet, cwd=root, check=False, stdout=subprocess.DEVNULL)


def up_to_date(root: Path, wanted: Wanted) -> bool:
    """Whether there is nothing to do. Starts nothing and asks nobody."""
    key, have = installed(root)
    return os.access(root / ".venv" / "bin" / "gproxy", os.X_OK) and key == lock_key(root) and wanted <= have


def make_ready(root: Path, wanted: Wanted, environment: dict[str, str]) -> None:
    """Bring `.venv` up to date, keeping what was asked of it before."""
    wanted |= installed(root)[1]
    uv = pinned_uv(root, environment)
    (root / ".tools").mkdir(exist_ok=True)
    index = other_index(environment)
    for command in commands(uv, sys.executable, wanted, index):
        run(command, uv_environment(environment, index))
    compile_sources(root)
    stamp = {"key": lock_key(root), "dev": wanted.dev, "extras": sorted(wanted.extras)}
    (root / ".venv" / "gproxy-stamp.json").write_text(json.dumps(stamp))


def leave_environment() -> None:
    """Go on as the interpreter that the running environment was made from: `.venv` may be about to be replaced."""
    base = getattr(sys, "_base_executable", None)
    if sys.prefix != sys.base_prefix and base and base != sys.executable:
        os.execv(base, [base, __file__, *sys.argv[1:]])  # noqa: S606 - the same program under its own interpreter


def main() -> int:
    """Parse, do, complain in one line."""
    parser = argparse.ArgumentParser(prog="dev/bootstrap", description="Make .venv ready.")
    parser.add_argument("what", choices=("run", "dev", "lock"), help="a set of packages, or `lock`: write uv.lock anew")
    parser.add_argument("--extra", action="append", default=[], choices=EXTRAS)
    asked = parser.parse_args()
    wanted = Wanted(asked.what == "dev", frozenset(asked.extra))
    environment = dict(os.environ)
    if asked.what != "lock" and up_to_date(ROOT, wanted):
        return 0
    leave_environment()
    try:
        if asked.what == "lock":
            run([pinned_uv(ROOT, environment), "lock", "--python", sys.executable], uv_environment(environment, None))
        else:
            make_ready(ROOT, wanted, environment)
    except Stopped as stopped:
        print(f"dev/bootstrap: {stopped}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
