"""SIGHUP, service managers, socket activation, refusals of the start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import rig

pytestmark = pytest.mark.process

CHAT = {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}


def test_a_write_by_somebody_else_is_followed(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port)) as gateway:
        assert gateway.request("POST", "/v1/chat/completions", CHAT)[0] == 200
        gateway.execute(
            "UPDATE permissions SET model_pattern = 'nothing'", "UPDATE revisions SET revision = revision + 1"
        )
        rig.await_that(
            lambda: True if gateway.request("POST", "/v1/chat/completions", CHAT)[0] == 403 else None,
            gateway,
            "the new permissions",
        )


def test_sighup_reloads_and_a_broken_world_keeps_the_old_one(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port)) as gateway:
        # Without moving the revision nobody but SIGHUP looks.
        gateway.execute("UPDATE permissions SET model_pattern = 'nothing'")
        gateway.signal(signal.SIGHUP)
        rig.await_that(
            lambda: True if gateway.request("POST", "/v1/chat/completions", CHAT)[0] == 403 else None,
            gateway,
            "the new permissions",
        )
        gateway.execute("ALTER TABLE permissions RENAME TO elsewhere")
        gateway.signal(signal.SIGHUP)
        gateway.told("reload refused")
        assert gateway.request("POST", "/v1/chat/completions", CHAT)[0] == 403
        assert gateway.stop() == 0


def test_the_service_manager_hears_the_whole_story(folder: Path, vendor: rig.Vendor) -> None:
    path = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        with rig.gateway(folder, rig.seed(vendor.port), env=env) as gateway:
            heard = [manager.recv(4096).decode() for _ in range(3)]
            assert heard[0].startswith("READY=1\n")
            assert any(line.startswith("WATCHDOG=1") for line in heard)
            gateway.signal(signal.SIGHUP)
            while not heard[-1].startswith("RELOADING=1\nMONOTONIC_USEC="):
                heard.append(manager.recv(4096).decode())
            while heard[-1] != "READY=1":
                heard.append(manager.recv(4096).decode())
            assert gateway.stop() == 0
            while not heard[-1].startswith("EXTEND_TIMEOUT_USEC="):
                heard.append(manager.recv(4096).decode())
            order = [line for line in heard if line.split("=")[0] in {"STOPPING", "EXTEND_TIMEOUT_USEC"}]
            assert order[0].startswith("STOPPING=1")


def test_an_activated_socket_is_served(folder: Path, vendor: rig.Vendor) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        os.set_inheritable(listening.fileno(), True)
        (folder / "gproxy.toml").write_text(rig.seed(vendor.port))
        program = (
            f"import os, sys; os.dup2({listening.fileno()}, 3); os.set_inheritable(3, True); "
            "os.environ['LISTEN_PID'] = str(os.getpid()); os.environ['LISTEN_FDS'] = '1'; "
            "from gproxy.cli.main import main; sys.exit(main(['serve', '--data-dir', 'data']))"
        )
        process = rig.Process(
            [sys.executable, "-c", program], {**os.environ, "PYTHONPATH": str(rig.ROOT / "src")}, folder
        )
        process.start(pass_fds=(listening.fileno(),))
        try:
            rig.await_that(
                lambda: True if any(b"listening on" in line for line in tuple(process.out)) else None, process, "ready"
            )
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200")
            process.signal(signal.SIGTERM)
            assert process.wait() == 0, process.text
        finally:
            process.end()


@pytest.mark.parametrize(
    ("seed", "flags", "told"),
    [
        (
            '[[providers]]\nname = "a"\nchannel = "nonsense"\n[[models]]\nprovider_name = "b"\n',
            (),
            ["providers", "models"],
        ),
        ("not toml at all", (), ["not valid TOML"]),
        ("", ("--data-dir", "/proc/nothing"), ["/proc/nothing", "--data-dir"]),
        ("", ("--port", "99999"), ["--port"]),
    ],
)
def test_a_start_that_cannot_be_is_refused_in_clear_lines(
    folder: Path, seed: str, flags: tuple[str, ...], told: list[str]
) -> None:
    gateway = rig.Gateway(folder, seed, *flags)
    gateway.start(ready=False)
    try:
        assert gateway.wait() in {1, 2}
        for word in told:
            assert word in gateway.text
        assert "Traceback" not in gateway.text
        if (gateway.data / "gproxy.db").exists():
            assert gateway.query("SELECT * FROM providers") == []
    finally:
        gateway.end()


def test_a_taken_port_is_named(folder: Path, vendor: rig.Vendor) -> None:
    made = rig.Gateway(folder, rig.seed(vendor.port), "--port", str(vendor.port))
    made.start(ready=False)
    assert made.wait() == 1
    assert str(vendor.port) in made.text
    assert "Traceback" not in made.text


def test_a_newer_database_is_left_alone(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port)) as gateway:
        assert gateway.stop() == 0
        gateway.execute("UPDATE alembic_version SET version_num = '9999'")
        gateway.start(ready=False)
        assert gateway.wait() == 1
        assert "newer" in gateway.text


def test_version_is_quick_to_say_and_loads_nothing() -> None:
    program = "import sys; from gproxy.cli.main import main; main(['version']); print(sorted(m for m in sys.modules if m in {'typer', 'asyncio', 'sqlite3', 'msgspec'}))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"
