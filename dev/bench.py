"""Measures the times that the budgets speak of: commands, a warm start to ready, an idle stop.

`make bench` prints the median and the worst of some runs beside the budget. It judges nothing: a busy machine is
no regression. Load is measured elsewhere, beside other gateways.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

GPROXY: Final = str(Path(sys.executable).with_name("gproxy"))
START_LIMIT: Final = 30.0


def command(*words: str) -> float:
    """Seconds that a command takes."""
    begun = time.monotonic()
    subprocess.run([GPROXY, *words], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def listening_port(process: subprocess.Popen[str]) -> int:
    """The port the gateway prints when it is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        if " listening on http://" in line:
            return int(line.rstrip().rstrip("/").rpartition(":")[2])
    raise SystemExit(f"gproxy ended with {process.wait()} before it was ready")


def start_and_stop(folder: str) -> tuple[float, float]:
    """Seconds from the command to an answer 200 on /readyz, and from SIGTERM to the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GPROXY_")}
    begun = time.monotonic()
    process = subprocess.Popen(
        [GPROXY, "serve", "--port", "0", "--data-dir", folder],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        connection = http.client.HTTPConnection("127.0.0.1", listening_port(process), timeout=START_LIMIT)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
        started = time.monotonic() - begun
        connection.close()
        if status != 200:
            raise SystemExit(f"/readyz answered {status}")
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=START_LIMIT)
        return started, time.monotonic() - told
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def row(name: str, budget: float, seconds: list[float]) -> str:
    """One line of the table, in milliseconds."""
    median, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
    return f"{name:<28}{median:>9.0f}{worst:>9.0f}{budget * 1000:>9.0f}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="dev/bench.py", description="Measure command, start and stop times.")
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    print(f"{'milliseconds':<28}{'median':>9}{'worst':>9}{'budget':>9}")
    commands: tuple[tuple[str, float, Callable[[], float]], ...] = (
        ("gproxy version", 0.15, lambda: command("version")),
        ("gproxy --help", 0.25, lambda: command("--help")),
        ("gproxy serve --help", 0.25, lambda: command("serve", "--help")),
    )
    for name, budget, measure in commands:
        measure()
        print(row(name, budget, [measure() for _ in range(runs)]))
    with tempfile.TemporaryDirectory() as folder:
        start_and_stop(folder)  # makes the database: the start that is measured is a warm one
        pairs = [start_and_stop(folder) for _ in range(runs)]
    print(row("warm start to ready", 0.6, [started for started, _ in pairs]))
    print(row("idle stop", 0.5, [stopped for _, stopped in pairs]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
