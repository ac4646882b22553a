"""The README's first requests, run as they stand (but for address and key) against a real gateway."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.sdk]

TEXT = (rig.ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
CURL = re.findall(r"```sh\n(curl .*?)```", TEXT, flags=re.DOTALL)


def here(code: str, gateway: rig.Gateway) -> str:
    return code.replace("http://127.0.0.1:8787", gateway.url).replace("sk-alice-1", rig.ALICE)


def test_there_is_one_for_each_sdk() -> None:
    assert [re.search(r"from (\w+)", code).group(1) for code in PYTHON] == ["openai", "anthropic", "google"]  # type: ignore[union-attr]
    assert len(CURL) == 1


@pytest.mark.parametrize("code", PYTHON, ids=["openai", "anthropic", "google"])
def test_it_prints_an_answer(gateway: rig.Gateway, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", here(code, gateway)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_curl_line_streams(gateway: rig.Gateway) -> None:
    rig.needed("curl", there=shutil.which("curl") is not None)
    done = subprocess.run(["sh", "-c", here(CURL[0], gateway)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("data: [DONE]\n\n")
