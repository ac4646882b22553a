"""Measures what it costs to pass one event of a stream on: translated between two dialects, or watched on the diagonal.

`make bench` prints microseconds of CPU per event, the best of several rounds, beside the budgets. The events are the
simulated vendor's, one word each, fed one by one as they come from a socket. It judges nothing: a busy machine is no
reason to fail.

    .venv/bin/python dev/bench_translation.py [--rounds 5] [--events 1000] [--profile openai_chat-gemini]
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import time
from typing import TYPE_CHECKING, Final

from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect, Operation
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from gproxy.vendor.answer import compose
from gproxy.vendor.ask import Ask
from gproxy.vendor.behaviour import Behaviour
from gproxy.vendor.voices import VOICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from gproxy.translate.translator import Translator

HUB_BUDGET: Final = 60
TAP_BUDGET: Final = 8
"""Microseconds per event."""

SAME, ALIAS = Names("m", "m"), Names("alias", "m")


def events_of(dialect: Dialect, count: int) -> list[bytes]:
    """A stream of so many words, event by event."""
    ask = Ask(dialect, Operation.STREAM, "m", stream=True, include_usage=True, input_tokens=7)
    wish = Behaviour(tokens=count)
    return [frame.data for frame in VOICES[dialect].stream(ask, compose(ask, wish, 1), "normal", 7)]


def hub(client: Dialect, upstream: Dialect) -> Translator:
    """A fresh road between two dialects."""
    return Hub(Setup(client, upstream, ALIAS, streams=True, upstream_streams=True, id="i", created=7), Tally())


def tap(dialect: Dialect, names: Names) -> Translator:
    """A fresh road within one."""
    return Passthrough(dialect, names, streams=True, include_usage=True)


def cost(make: Callable[[], Translator], events: list[bytes], rounds: int) -> float:
    """Microseconds of CPU per event, the best round."""
    best = float("inf")
    for _ in range(rounds):
        made = make()
        made.begins(b"text/event-stream")
        feed = made.feed
        gc.collect()
        begun = time.process_time_ns()
        for event in events:
            feed(event)
        best = min(best, time.process_time_ns() - begun)
        made.end()
        assert made.finished
    return best / len(events) / 1000


def profiled(pair: str, events: int) -> None:
    """Where the time of one road goes."""
    client, _, upstream = pair.partition("-")
    told = events_of(Dialect(upstream), events)
    made = tap(Dialect(client), ALIAS) if client == upstream else hub(Dialect(client), Dialect(upstream))
    made.begins(b"text/event-stream")
    profile = cProfile.Profile()
    profile.enable()
    for event in told:
        made.feed(event)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Measure every road and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--profile", help="client-upstream")
    asked = parser.parse_args()
    if asked.profile:
        profiled(asked.profile, asked.events)
        return
    streams = {dialect: events_of(dialect, asked.events) for dialect in GENERATE_DIALECTS}
    print(f"\nmicroseconds per event, translated (budget {HUB_BUDGET})")
    print(f"{'client, vendor:':<20}" + "".join(f"{upstream.value:>20}" for upstream in streams))
    for client in GENERATE_DIALECTS:
        cells = [
            "" if client is upstream else f"{cost(lambda c=client, u=upstream: hub(c, u), events, asked.rounds):.1f}"  # type: ignore[misc] # the defaults bind the loop's values
            for upstream, events in streams.items()
        ]
        print(f"{client.value:<20}" + "".join(f"{cell:>20}" for cell in cells))
    print(f"\nmicroseconds per event, watched on the diagonal (budget {TAP_BUDGET})")
    print(f"{'':<20}{'as it is':>20}{'under an alias':>20}")
    for dialect, events in streams.items():
        plain, renamed = (
            cost(lambda d=dialect, n=names: tap(d, n), events, asked.rounds)  # type: ignore[misc] # as above
            for names in (SAME, ALIAS)
        )
        print(f"{dialect.value:<20}{plain:>20.2f}{renamed:>20.2f}")


if __name__ == "__main__":
    main()
