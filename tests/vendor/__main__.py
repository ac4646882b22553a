"""`python -m tests.vendor`: the simulated vendor as a process of its own, with its control endpoint open.

Prints one JSON line `{"port": …, "pid": …}` when it is ready, and ends on SIGTERM or SIGINT with exit code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import sys
from pathlib import Path

import uvloop

from gproxy.vendor.behaviour import DEFAULT, build, parse
from gproxy.vendor.server import VendorServer


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    vendor = VendorServer(
        default=build(DEFAULT, parse(options.script)),
        count_file=options.count_file,
        fixtures=options.fixtures,
        control=True,
        keyless=options.keyless,
    )
    tls = None
    if options.tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    port = await vendor.start(options.host, options.port, tls=tls)
    sys.stdout.write(json.dumps({"port": port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await vendor.close()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.vendor", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--count-file", type=Path, default=None, help="append-only count of every attempt")
    parser.add_argument("--fixtures", type=Path, default=None, help="folder of recordings: <protocol>/<case>/")
    parser.add_argument("--script", default="", help="how to answer what asks for nothing else, e.g. delay=0.01")
    parser.add_argument("--keyless", action="store_true", help="ask for no key, like an engine on one's own machine")
    parser.add_argument("--tls-cert", type=Path, default=None, help="speak TLS with this certificate chain")
    parser.add_argument("--tls-key", type=Path, default=None)
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
