"""What the page on clients says about the SDKs is run as it stands there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.agents.guide import guide
from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.sdk]


@pytest.mark.parametrize("section", ["OpenAI SDK", "Anthropic SDK", "Google Gen AI SDK"])
def test_the_box_on_the_page_prints_an_answer(gateway: rig.Gateway, section: str) -> None:
    told = guide(section, url=gateway.url, key=rig.ALICE, model="fast")
    assert told.python
    done = subprocess.run([sys.executable, "-c", told.python], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 5, done
