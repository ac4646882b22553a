"""Coding agents, as people install them, edit a file through the gateway with a model of every kind of vendor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import session
from tests.agents.agents import AFTER, AGENTS, FAREWELL, Agent
from tests.agents.conftest import DIALECTS
from tests.agents.session import World

pytestmark = [pytest.mark.process, pytest.mark.agents, pytest.mark.timeout(session.LONGEST + 60)]


@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_an_agent_reads_and_edits_a_file(world: World, agent: Agent, upstream: str, tmp_path: Path) -> None:
    if not session.installed(agent):
        pytest.skip(f"{agent.command} is not installed: `make agents` brings it")
    done = session.run(world, agent, upstream, tmp_path)
    assert done.code == 0, done
    assert done.edited == AFTER, done
    assert FAREWELL in done.said, done
    assert not done.unused, done
    assert not done.strays, done
    for row in done.rows:
        assert (row["dialect_in"], row["dialect_out"]) == (agent.dialect, upstream), done
        assert (row["outcome"], row["source"]) == ("complete", "reported"), done
    assert sum(row["cost_nano_usd"] for row in done.rows) > 0
