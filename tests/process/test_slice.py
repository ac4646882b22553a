"""One real request, end to end: a client, the gateway, a vendor, a row with a cost."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.process import rig

pytestmark = pytest.mark.process


def chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "one two three"}], **more}


def row_of(gateway: rig.Gateway, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = rig.await_that(
        lambda: next(iter(gateway.query(f"SELECT * FROM usages WHERE request_id = '{request_id}'")), None),
        gateway,
        f"the usage row of {request_id}",
    )
    return found


def events(stream: bytes) -> list[Any]:
    lines = [line[6:] for line in stream.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/main/v1/chat/completions"])
def test_a_buffered_answer_leaves_a_priced_row(gateway: rig.Gateway, path: str) -> None:
    status, headers, content = gateway.request("POST", path, chat("sim-model", max_tokens=7))
    assert status == 200
    answer = json.loads(content)
    usage = answer["usage"]
    row = row_of(gateway, headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert row["cost_nano_usd"] == usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 2000
    assert (row["outcome"], row["source"], row["status"], row["streamed"]) == ("complete", "reported", 200, 0)
    assert (row["user_name"], row["provider_name"], row["channel"]) == ("alice", "main", "openai")
    assert (row["dialect_in"], row["dialect_out"], row["operation"]) == ("openai_chat", "openai_chat", "generate")
    assert (row["model_asked"], row["attempt_no"]) == ("sim-model", 1)
    assert uuid.UUID(headers["x-request-id"]).version == 7
    assert headers["request-id"] == headers["x-request-id"]
    assert (headers["x-gproxy-provider"], headers["x-gproxy-attempts"]) == ("main", "1")
    assert headers["x-gproxy-cost"] == f"{row['cost_nano_usd'] / 1e9:.9f}".rstrip("0")


def test_a_stream_comes_as_it_is_without_the_frame_we_asked_for(gateway: rig.Gateway) -> None:
    status, headers, content = gateway.request(
        "POST", "/v1/chat/completions", chat("sim-model", max_tokens=9, stream=True)
    )
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert content.endswith(b"data: [DONE]\n\n")
    assert all(event["choices"] for event in events(content))
    row = row_of(gateway, headers["x-request-id"])
    assert (row["output_tokens"], row["operation"], row["streamed"]) == (9, "stream", 1)
    assert row["cost_nano_usd"] == row["input_tokens"] * 1000 + 9 * 2000
    assert row["first_byte_ms"] is not None


def test_a_client_that_asks_for_usage_gets_it(gateway: rig.Gateway) -> None:
    body = chat("sim-model", max_tokens=4, stream=True, stream_options={"include_usage": True})
    _, _, content = gateway.request("POST", "/v1/chat/completions", body)
    last = events(content)[-1]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["fast", "main/gpt-4.1-mini"])
def test_an_alias_or_prefix_is_echoed_and_priced_as_its_model(gateway: rig.Gateway, name: str, stream: bool) -> None:
    _, headers, content = gateway.request("POST", "/v1/chat/completions", chat(name, max_tokens=3, stream=stream))
    models = {event["model"] for event in events(content)} if stream else {json.loads(content)["model"]}
    assert models == {name}
    row = row_of(gateway, headers["x-request-id"])
    assert row["model_asked"] == name
    assert row["cost_nano_usd"] == row["input_tokens"] * 400 + 3 * 1600


def test_models_are_those_the_key_may_call(gateway: rig.Gateway) -> None:
    status, _, content = gateway.request("GET", "/v1/models")
    names = [entry["id"] for entry in json.loads(content)["data"]]
    assert status == 200
    assert names == sorted(["fast", "gpt-4.1-mini", "main/gpt-4.1-mini", "main/sim-model", "sim-model"])
    _, _, content = gateway.request("GET", "/v1/models", key=rig.MUTE)
    assert json.loads(content)["data"] == []
    _, _, content = gateway.request("GET", "/main/v1/models")
    assert [entry["id"] for entry in json.loads(content)["data"]] == ["fast", "gpt-4.1-mini", "sim-model"]
    _, _, content = gateway.request("GET", "/v1/models/main/gpt-4.1-mini")
    assert json.loads(content)["id"] == "main/gpt-4.1-mini"
    _, _, content = gateway.request("GET", "/v1/models", headers={"anthropic-version": "2023-06-01"})
    assert json.loads(content)["has_more"] is False
    _, _, content = gateway.request("GET", "/v1beta/models", key=None, headers={"x-goog-api-key": rig.ALICE})
    assert "models/fast" in [entry["name"] for entry in json.loads(content)["models"]]


@pytest.mark.parametrize(
    ("key", "path", "body", "status", "code"),
    [
        (None, "/v1/chat/completions", {"model": "sim-model"}, 401, "invalid_api_key"),
        ("sk-nobody", "/v1/chat/completions", {"model": "sim-model"}, 401, "invalid_api_key"),
        (rig.DISABLED, "/v1/chat/completions", {"model": "sim-model"}, 401, "invalid_api_key"),
        (rig.MUTE, "/v1/chat/completions", {"model": "sim-model", "messages": []}, 403, "forbidden"),
        (rig.MUTE, "/main/v1/chat/completions", {"model": "nope", "messages": []}, 403, "forbidden"),
        (rig.ALICE, "/v1/chat/completions", {"model": "nope", "messages": []}, 404, "model_not_found"),
        (rig.ALICE, "/v1/chat/completions", {"model": "nobody/x", "messages": []}, 404, "model_not_found"),
        (rig.ALICE, "/nobody/v1/chat/completions", {"model": "x", "messages": []}, 404, "not_found"),
        (rig.ALICE, "/v1/chat/completions", b"not json", 400, "invalid_request"),
        (rig.ALICE, "/v1/chat/completions", b"[1]", 400, "invalid_request"),
        (rig.ALICE, "/v1/chat/completions", b"", 400, "invalid_request"),
        (rig.ALICE, "/v1/chat/completions", {"messages": []}, 400, "invalid_request"),
        (rig.ALICE, "/v1/chat/completions", {"model": 7, "messages": []}, 400, "invalid_request"),
        (rig.ALICE, "/v1/chat/completions", {"model": "sim-\0model", "messages": []}, 400, "invalid_request"),
        (rig.ALICE, "/v1/chat/completions", {"model": "sim-model", "stream": "yes"}, 400, "invalid_request"),
        (
            rig.ALICE,
            "/v1/chat/completions",
            b'{"model":"sim-model","messages":' + b"[" * 100_000,
            400,
            "invalid_request",
        ),
        (rig.ALICE, "/v1/nothing", {"model": "x"}, 404, "not_found"),
    ],
)
def test_refusals_have_the_callers_shape(
    gateway: rig.Gateway, key: str | None, path: str, body: Any, status: int, code: str
) -> None:
    got, headers, content = gateway.request("POST", path, body, key=key)
    error = json.loads(content)["error"]
    assert (got, error["code"]) == (status, code), content
    assert set(error) >= {"message", "type", "param", "code"}
    assert uuid.UUID(headers["x-request-id"]).version == 7
    if status in {401, 403}:
        assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", b'"messages":[{"role":"user","content":"a"}],"messages":[]', "messages"),
        ("/v1/chat/completions", b'"messages":[],"tools":[],"t\\u006fols":[]', "tools"),
        ("/v1/responses", b'"input":"a","input":["b"]', "input"),
        ("/v1/messages", b'"max_tokens":5,"messages":[],"stream":true,"messages":[]', "messages"),
        ("/v1/messages", b'"max_tokens":5,"messages":[],"stream":true,"stream":false', "stream"),
        ("/v1beta/models/sim-model:generateContent", b'"contents":[],"contents":[{}]', "contents"),
    ],
)
def test_a_field_given_twice_is_refused_before_anybody_is_asked(
    gateway: rig.Gateway, vendor: rig.Vendor, path: str, body: bytes, field: str
) -> None:
    before = vendor.count_file.read_bytes()
    status, _, content = gateway.request("POST", path, b'{"model":"sim-model",' + body + b"}")
    assert (status, json.loads(content)["error"]["message"]) == (400, f"`{field}` is given twice")
    assert vendor.count_file.read_bytes() == before


def test_a_model_name_holds_no_control_characters(gateway: rig.Gateway, vendor: rig.Vendor) -> None:
    before = vendor.count_file.read_bytes()
    ask = {"model": "main/sim-\0model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    status, _, content = gateway.request("POST", "/v1/messages", ask)
    assert (status, json.loads(content)["error"]["type"]) == (400, "invalid_request_error")
    assert "`model` holds the control character U+0000" in json.loads(content)["error"]["message"]
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    status, _, content = gateway.request("POST", "/v1beta/models/main%2Fsim-%0Amodel:generateContent", body)
    assert (status, json.loads(content)["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "`model`" in json.loads(content)["error"]["message"]
    assert vendor.count_file.read_bytes() == before


def test_a_callers_own_request_id_is_kept_beside_ours(gateway: rig.Gateway) -> None:
    _, headers, _ = gateway.request("GET", "/v1/models", headers={"x-request-id": "mine-1"})
    assert headers["x-client-request-id"] == "mine-1"
    assert uuid.UUID(headers["x-request-id"]).version == 7


def test_a_wrong_method_names_the_right_one(gateway: rig.Gateway) -> None:
    status, headers, _ = gateway.request("GET", "/v1/chat/completions")
    assert (status, headers["allow"]) == (405, "POST")


def test_a_body_over_the_limit_is_refused(gateway: rig.Gateway) -> None:
    status, _, content = gateway.request("POST", "/v1/chat/completions", b'"' + b"x" * (51 * 1024 * 1024) + b'"')
    assert (status, json.loads(content)["error"]["code"]) == (413, "payload_too_large")


def test_refusals_consume_nothing_and_leave_no_row(gateway: rig.Gateway) -> None:
    before = len(gateway.query("SELECT attempt_id FROM usages"))
    _, headers, _ = gateway.request("POST", "/v1/chat/completions", chat("nope"))
    _, done, _ = gateway.request("POST", "/v1/chat/completions", chat("sim-model", max_tokens=1))
    row_of(gateway, done["x-request-id"])
    assert len(gateway.query("SELECT attempt_id FROM usages")) == before + 1
    assert gateway.query(f"SELECT attempt_id FROM usages WHERE request_id = '{headers['x-request-id']}'") == []


def test_a_vendors_own_complaint_is_passed_on(gateway: rig.Gateway) -> None:
    model = "sim~status=422~message=bad_temperature"
    status, headers, content = gateway.request("POST", "/main/v1/chat/completions", chat(model))
    assert status == 422
    assert json.loads(content)["error"]["message"] == "bad_temperature"
    row = row_of(gateway, headers["x-request-id"])
    assert (row["outcome"], row["status"], row["cost_nano_usd"]) == ("failed", 422, 0)


def test_health_pages(gateway: rig.Gateway) -> None:
    assert gateway.request("GET", "/livez", key=None)[0] == 200
    status, _, content = gateway.request("GET", "/readyz", key=None)
    assert (status, json.loads(content)["status"]) == (200, "ok")
    assert gateway.request("GET", "/healthz", key=None)[0] == 200
    assert gateway.request("HEAD", "/", key=None)[0] == 200
    assert gateway.request("HEAD", "/api/hello", key=None)[0] == 200
    assert gateway.request("GET", "/", key=None)[0] == 200


def test_an_upgrade_is_declined_at_once(gateway: rig.Gateway) -> None:
    headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-key": "x", "sec-websocket-version": "13"}
    status, _, _ = gateway.request("GET", "/v1/responses", headers=headers)
    assert status == 426


def test_one_log_line_per_request_without_secrets(gateway: rig.Gateway) -> None:
    _, headers, _ = gateway.request("POST", "/v1/chat/completions", chat("sim-model", max_tokens=2))
    wanted = headers["x-request-id"]
    told = json.loads(gateway.told(wanted))
    assert (told["event"], told["status"], told["user"], told["model"]) == ("request", 200, "alice", "sim-model")
    assert len(gateway.lines(wanted)) == 1
    everything = gateway.text
    assert rig.VENDOR_KEY not in everything
    assert rig.ALICE not in everything
