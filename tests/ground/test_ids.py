from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from gproxy.ids import new_id


def test_ids_are_uuid_version_7_with_the_rfc_variant() -> None:
    for _ in range(5000):
        value = uuid.UUID(new_id())
        assert value.version == 7
        assert value.variant == uuid.RFC_4122


def test_ids_sort_by_birth_even_within_a_millisecond() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_threads_never_share_an_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: [new_id() for _ in range(2000)], range(8)))
    ids = [one for batch in batches for one in batch]
    assert len(set(ids)) == len(ids)


def test_a_forked_child_does_not_repeat_its_parent() -> None:
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join(new_id() for _ in range(50)).encode())
        os._exit(0)
    os.close(writing)
    ours = {new_id()[-16:] for _ in range(50)}
    with os.fdopen(reading) as pipe:
        theirs = {line[-16:] for line in pipe.read().split()}
    os.waitpid(child, 0)
    assert len(theirs) == 50
    assert not ours & theirs
