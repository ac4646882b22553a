"""What a driver or the event loop says of a connection that is gone is "unavailable", never a bug of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gproxy.storage.drivers import mysql, postgres
from gproxy.storage.errors import DatabaseUnavailable

GONE = [
    RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    RuntimeError("Transport does not expose socket instance"),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
]


@pytest.mark.parametrize("mapped", [mysql.mapped, postgres.mapped])
@pytest.mark.parametrize("error", GONE, ids=repr)
def test_a_connection_that_is_gone_is_unavailable(mapped: Callable[[Exception], Exception], error: Exception) -> None:
    assert type(mapped(error)) is DatabaseUnavailable
