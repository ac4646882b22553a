"""The long proof of the control plane: generated requests find no fault, and reloads under load disturb nobody.

    make soak-admin                                   20,000 generated requests, then 1,000 reloads under 200 rps
    make soak-admin ARGS="--cases 0 --reloads 1000"   one of the two
    make soak-admin ARGS="--reloads 0 --part 2/8 --seed 5"   an eighth of the operations, other requests each seed

Exits 0 when every promise was kept, 1 otherwise. Needs nothing but this machine: gateway and vendor are started here.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.process import rig
from tests.process.generated import attack, document_of

ROOT_KEY: Final = "sk-root-0123456789abcdef"
OPERATIONS: Final = 120
"""About so many operations the document has; cases are spread evenly over them and over both modes."""
ASKERS: Final = 16
USERS: Final = 200
WARM: Final = 0.3
"""The share of the reloads after which memory must no longer grow."""
GROWTH: Final = 6 * 1024
"""KiB by which the median of the last readings may lie above that of the first ones after warming up: the page caches
of three SQLite connections (2 MB each) fill with the ledger that grows meanwhile. One world kept alive per reload would
be a hundred times that."""
_CHAT: Final = json.dumps(
    {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
).encode()


def world(vendor_port: int) -> str:
    """A configuration of a size that makes a leak visible."""
    people = "".join(
        f'[[users]]\nname = "user-{number}"\nkeys = [ {{ api_key = "sk-user-{number:04}" }} ]\n'
        f'[[permissions]]\nuser_name = "user-{number}"\nmodel_pattern = "sim-*"\n'
        for number in range(USERS)
    )
    root = f'[[users]]\nname = "root"\nis_admin = true\nkeys = [ {{ api_key = "{ROOT_KEY}" }} ]\n'
    return rig.seed(vendor_port, people + root)


@dataclass
class Load:
    """Requests at a steady rate, whatever the answers take; one thread per asker, one connection each."""

    port: int
    rate: float
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begin."""
        began = time.monotonic()
        self._askers = [threading.Thread(target=self._ask, args=(began, number)) for number in range(ASKERS)]
        for asker in self._askers:
            asker.start()

    def stop(self) -> None:
        """End, after the requests under way."""
        self._over.set()
        for asker in self._askers:
            asker.join()

    def _ask(self, began: float, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        turn = 0
        while True:
            due = began + (number + turn * ASKERS) / self.rate
            if self._over.wait(max(0.0, due - time.monotonic())):
                break
            turn += 1
            user = (number + turn * ASKERS) % USERS
            head = {"authorization": f"Bearer sk-user-{user:04}", "content-type": "application/json"}
            sent = time.monotonic()
            try:
                connection.request("POST", "/v1/chat/completions", body=_CHAT, headers=head)
                answer = connection.getresponse()
                answer.read()
                word = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                word = type(error).__name__
                connection.close()
            with self._lock:
                self.statuses[word] += 1
                self.slowest = max(self.slowest, time.monotonic() - sent)
        connection.close()


def memory(pid: int) -> int:
    """Resident memory in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("the process has no memory")


def reloads(count: int, rate: float) -> bool:
    """So many reloads, every other one after a change, under so many requests a second; whether all was well."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name, rig.vendor(Path(name)) as vendor:
        folder = Path(name) / "gateway"
        folder.mkdir()
        with rig.gateway(folder, world(vendor.port)) as gateway:
            route = {"name": "best", "members": [{"provider_name": "main", "model_id": "sim-model"}]}
            assert gateway.request("POST", "/admin/routes", route, key=ROOT_KEY)[0] == 201
            load = Load(gateway.port, rate)
            load.start()
            began = time.monotonic()
            readings: list[int] = []
            refused = 0
            for number in range(count):
                refused += gateway.request("POST", "/admin/reload", key=ROOT_KEY)[0] != 200
                strategy = {"strategy": ("weighted", "failover")[number % 2]}
                if number % 2:
                    refused += gateway.request("PATCH", "/admin/routes/best", strategy, key=ROOT_KEY)[0] != 200
                readings.append(memory(gateway.popen.pid))
            took = time.monotonic() - began
            load.stop()
            code = gateway.stop()
    warm = readings[int(len(readings) * WARM) :]
    third = max(1, len(warm) // 3)
    first, last = (sorted(part)[len(part) // 2] for part in (warm[:third], warm[-third:]))
    asked = sum(load.statuses.values())
    failed = {word: times for word, times in load.statuses.items() if word != "200"}
    print(f"{count} reloads ({count // 2} after a change) in {took:.0f} s, {refused} refused, exit {code}")
    print(f"{asked} requests, {asked / took:.0f} a second, failed: {failed or 0}, slowest {load.slowest * 1000:.0f} ms")
    print(
        f"memory (KiB): {readings[0]} after the first, {first} median after warming up, {last} median at the end, "
        f"{max(readings)} most: {last - first:+d}"
    )
    return not (failed or refused or code or last - first > GROWTH)


def generated(cases: int, seed: int | None, part: tuple[int, int]) -> bool:
    """So many generated requests; whether no promise was broken."""
    examples = -(-cases * part[1] // (OPERATIONS * 2))
    with tempfile.TemporaryDirectory(prefix="soak-") as name, rig.vendor(Path(name)) as vendor:
        folder = Path(name) / "gateway"
        folder.mkdir()
        with rig.gateway(folder, world(vendor.port)) as gateway:
            began = time.monotonic()
            try:
                told = attack(document_of(gateway.url, ROOT_KEY), examples, seed=seed, part=part)
            except Exception as error:
                print(f"a promise was broken:\n{error}", file=sys.stderr)
                return False
            took = time.monotonic() - began
            alive = gateway.request("GET", "/livez")[0] == 200
            unhandled = len(gateway.lines("unhandled"))
            code = gateway.stop()
    print(f"{told.cases} generated requests at {told.operations} operations in {took:.0f} s: {dict(told.statuses)}")
    print(f"unhandled errors: {unhandled}, exit {code}")
    return alive and not unhandled and code == 0


def main() -> int:
    """Run what was asked for and print the figures."""
    parser = argparse.ArgumentParser(prog="make soak-admin", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=20_000, help="generated requests, about so many or more")
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second while reloading")
    parser.add_argument("--seed", type=int, default=None, help="other requests than those of every run")
    parser.add_argument("--part", default="1/1", metavar="N/OF", help="a share of the operations only")
    options = parser.parse_args()
    number, _, of = options.part.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        parser.error("--part must be like 2/8")
    good = True
    if options.cases:
        good = generated(options.cases, options.seed, (int(number) - 1, int(of))) and good
    if options.reloads:
        good = reloads(options.reloads, options.rate) and good
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
