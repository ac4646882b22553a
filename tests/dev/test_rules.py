import pytest

from dev.rules import LONGEST_FILE, judge

EXCUSE = "# " + "noqa: S608"  # in two parts, so that it is not one of this file

BREACHES = [
    ("src/gproxy/server/x.py", "asyncio.create_task(f())", "name"),
    ("src/gproxy/server/x.py", "asyncio.create_task(f(), name='f')", "owner"),
    ("src/gproxy/server/x.py", "t = loop.create_task(f())", "name"),
    ("src/gproxy/ledger/x.py", "time.time()", "Clock"),
    ("src/gproxy/ledger/x.py", "now = datetime.now(UTC)", "Clock"),
    ("src/gproxy/storage/x.py", "c.execute(f'select {x}')", "parameters"),
    ("src/gproxy/storage/x.py", "c.execute('select %s' % x)", "parameters"),
    ("src/gproxy/storage/x.py", "c.execute(f'PRAGMA a = {max(1, x)}')", "parameters"),
    ("src/gproxy/storage/x.py", "c.execute(text('select ' + x))", "parameters"),
    ("src/gproxy/storage/x.py", "c.execute('select {}'.format(x))", "parameters"),
    ("src/gproxy/storage/utils.py", "", "drawer"),
    ("src/gproxy/common/x.py", "", "drawer"),
    ("src/gproxy/storage/task_manager.py", "x = 1\n" * (LONGEST_FILE + 1), "split"),
    ("tests/x/test_x.py", "@pytest.mark.skip\ndef test(): ...", "reason"),
    ("tests/x/test_x.py", "@pytest.mark.xfail(strict=True)\ndef test(): ...", "reason"),
    ("tests/x/test_x.py", "@pytest.mark.skipif(True, reason='')\ndef test(): ...", "reason"),
    ("tests/x/test_x.py", "def test(): pytest.skip()", "reason"),
    ("src/gproxy/runtime/x.py", "log.info('key', api_key)", "masked"),
    ("src/gproxy/runtime/x.py", "self._log.warning(f'{user.password} is wrong')", "masked"),
    ("src/gproxy/runtime/x.py", "logger.info('x', extra={'a': key.reveal()})", "reveal"),
    ("src/gproxy/pipeline/x.py", "key.reveal()", "reveal"),
    ("src/gproxy/pipeline/x.py", "keys[0].reveal()", "reveal"),
    ("src/gproxy/pipeline/x.py", f"x = 1  {EXCUSE}", "reason"),
    ("src/gproxy/storage/x.py", "c.execute('select ' + ('a' if x else y))", "parameters"),
]

FINE = [
    ("src/gproxy/server/x.py", "self.task = asyncio.create_task(f(), name='f')"),
    ("src/gproxy/server/x.py", "group.create_task(f(), name='f')"),
    ("tests/server/test_x.py", "asyncio.create_task(f())"),
    ("src/gproxy/clock.py", "time.time_ns()"),
    ("src/gproxy/ledger/x.py", "time.monotonic()"),
    ("src/gproxy/storage/x.py", "c.execute(text('select 1'), {'x': x})"),
    ("src/gproxy/storage/x.py", "c.execute('select ' 'x')"),
    ("src/gproxy/storage/x.py", "c.execute(select(a + b))"),
    ("src/gproxy/storage/x.py", "c.execute('select ' + ('a' if x else 'b'))"),
    ("src/gproxy/storage/x.py", f"c.execute(f'select {{x}}')  {EXCUSE} - a column of ours"),
    ("src/gproxy/storage/x.py", f"x  {EXCUSE} - why\ny  {EXCUSE}"),
    ("src/gproxy/storage/x.py", "c.execute(f'select 1')"),
    ("src/gproxy/storage/x.py", "c.execute(f'PRAGMA a = {max(1, int(x))}')"),
    ("tests/x/test_x.py", "@pytest.mark.skipif(True, reason='needs Linux')\ndef test(): ..."),
    ("tests/x/test_x.py", "def test(): pytest.skip('needs Linux')"),
    ("src/gproxy/runtime/x.py", "log.info('tokens', usage.input_tokens)"),
    ("src/gproxy/runtime/x.py", "log.info('key', api_key.masked())"),
    ("src/gproxy/runtime/x.py", "log.info('the api_key is wrong')"),
    ("src/gproxy/runtime/x.py", "catalog.error(password)"),
    ("src/gproxy/channels/auth/bearer.py", "key.reveal()"),
]


@pytest.mark.parametrize(("path", "source", "word"), BREACHES)
def test_a_breach_is_found_and_told_what_to_do(path: str, source: str, word: str) -> None:
    found = judge(path, source)
    assert found
    assert any(word in finding.text for finding in found), found
    assert all(finding.path == path and finding.line for finding in found)


@pytest.mark.parametrize(("path", "source"), FINE)
def test_what_is_fine_is_left_alone(path: str, source: str) -> None:
    assert judge(path, source) == []
