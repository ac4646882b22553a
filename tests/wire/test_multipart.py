"""Forms: fields found, one changed, nothing else moved; abuse refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.wire.multipart import MAX_PARTS, FormProblem, boundary_of, parse

TYPE = b'multipart/form-data; boundary="xYz 1"'
B = b"xYz 1"


def form(*parts: tuple[bytes, bytes], boundary: bytes = B) -> bytes:
    out = [b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, head, value) for head, value in parts]
    return b"".join(out) + b"--%b--\r\n" % boundary


MODEL = (b'Content-Disposition: form-data; name="model"', b"whisper-1")
FILE = (
    b'Content-Disposition: form-data; name="file"; filename="../../etc/\\"a\\".wav"\r\nContent-Type: audio/wav',
    b"RIFF\r\n--not it\x00\xff",
)


def test_fields_and_files() -> None:
    body = form(MODEL, FILE)
    found = parse(TYPE, body)
    assert found.text("model") == "whisper-1"
    assert found.text("file") is None
    assert found.text("absent") is None
    file = found.parts[1]
    assert (file.name, file.filename, file.content_type) == ("file", '../../etc/"a".wav', b"audio/wav")
    assert bytes(found.value(file)) == FILE[1]


def test_a_field_is_changed_in_place_and_everywhere() -> None:
    body = form(MODEL, FILE, MODEL)
    assert parse(TYPE, body).with_text("model", "other") == body.replace(b"whisper-1", b"other")
    without = form(FILE)
    changed = parse(TYPE, without).with_text("model", "é")
    assert changed.endswith(without)
    assert parse(TYPE, changed).text("model") == "é"


def test_preamble_padding_empty_values_and_no_parts() -> None:
    body = b"hello\r\n--xYz 1 \t\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--xYz 1--"
    assert parse(TYPE, body).text("a") == ""
    assert parse(TYPE, b"--xYz 1--").parts == ()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/json", b"{}"),
        (b"multipart/form-data", form(MODEL)),
        (b"multipart/form-data; boundary=", form(MODEL)),
        (b"multipart/form-data; boundary=" + b"x" * 71, form(MODEL)),
        (b'multipart/form-data; boundary="a\r\nb"', form(MODEL)),
        (TYPE, b""),
        (TYPE, b"no boundary here"),
        (TYPE, form(MODEL)[:-12]),
        (TYPE, b"--xYz 1\r\nContent-Disposition: form-data; name=a"),
        (TYPE, b"--xYz 1 junk\r\n\r\n\r\n--xYz 1--"),
        (TYPE, form((b"X: y", b"no disposition"))),
        (TYPE, form((b"Content-Disposition: attachment; name=a", b"x"))),
        (TYPE, form((b"Content-Disposition: form-data; name=a\r\nX: " + b"y" * 20_000, b"x"))),
        (TYPE, form(*[MODEL] * (MAX_PARTS + 1))),
    ],
)
def test_refused(content_type: bytes, body: bytes) -> None:
    with pytest.raises(FormProblem) as problem:
        parse(content_type, body)
    assert problem.value.text


def test_values_that_do_not_fit() -> None:
    with pytest.raises(FormProblem, match="UTF-8"):
        parse(TYPE, form((MODEL[0], b"\xff"))).text("model")
    with pytest.raises(FormProblem, match="boundary"):
        parse(TYPE, form(MODEL)).with_text("model", "--xYz 1")


def test_boundary_forms() -> None:
    assert boundary_of(b"Multipart/Form-Data;charset=utf-8; Boundary=abc") == b"abc"


@settings(max_examples=80)
@given(st.lists(st.tuples(st.text(alphabet="ab é", min_size=1, max_size=4), st.binary(max_size=30)), max_size=5))
def test_round_trip(fields: list[tuple[str, bytes]]) -> None:
    body = form(*[(b'Content-Disposition: form-data; name="%b"' % n.encode(), v) for n, v in fields], boundary=b"q7")
    found = parse(b"multipart/form-data; boundary=q7", body)
    assert [(p.name, bytes(found.value(p))) for p in found.parts] == fields


@given(st.binary(max_size=100))
def test_garbage(raw: bytes) -> None:
    try:
        parse(TYPE, b"--xYz 1" + raw)
    except FormProblem as problem:
        assert problem.text  # noqa: PT017 - some garbage is a form
