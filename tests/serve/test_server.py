"""A real server process with the fake engine, spoken to in plain HTTP."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from servewatt import serve
from servewatt.errors import UnavailableError
from servewatt.harness.through_http import HOST, Server
from tests.harness.builders import fake, model


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server whose steps take 20 ms, for batches of two."""
    server = Server(model(Path("nowhere")), replace(fake(step_ms=20), batch=2))
    yield server.port
    server.stop()


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request(method, path, None if body is None else json.dumps(body))
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content) if response.headers["Content-Type"] == "application/json" else content


def test_a_generation_is_answered_whole_with_a_time_mark_for_each_step(port: int) -> None:
    begin_s = time.monotonic()
    status, answer = ask(port, "POST", "/generate", {"prompts": [[1, 2], [10]], "max_new_tokens": 3})
    end_s = time.monotonic()
    assert status == 200
    # The fake engine counts upwards from the sum of each prompt.
    assert answer["tokens"] == [[3, 10], [4, 11], [5, 12]]
    marks = [begin_s, *answer["times_s"], end_s]
    assert marks == sorted(marks)
    assert answer["times_s"][2] - answer["times_s"][0] >= 0.04
    # The engine's three steps of 20 ms, and less than the client has waited.
    assert 0.06 <= answer["engine_s"] < end_s - begin_s


def test_an_answer_does_not_wait_for_a_delayed_acknowledgement(port: int) -> None:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    delays_s = []
    for _ in range(5):
        connection.request("POST", "/generate", json.dumps({"prompts": [[1]], "max_new_tokens": 2}))
        marks = json.loads(connection.getresponse().read())["times_s"]
        delays_s.append(time.monotonic() - marks[-1])
    connection.close()
    assert min(delays_s) < 0.02


def test_a_row_that_has_ended_yields_null(port: int) -> None:
    asked = {"prompts": [[1, 2], [10]], "max_new_tokens": 4, "stop_ids": [4, 13]}
    assert ask(port, "POST", "/generate", asked)[1]["tokens"] == [[3, 10], [4, 11], [None, 12], [None, 13]]


def test_facts_come_from_the_engine_and_name_the_server_s_libraries(port: int) -> None:
    status, facts = ask(port, "GET", "/facts")
    assert status == 200
    assert facts["devices"] == [["cpu", 1]]
    assert {name for name, _ in facts["libraries"]} == {"starlette", "uvicorn"}
    assert ask(port, "GET", "/memory") == (200, {"peak_device_bytes": None})


def test_bad_input_is_422_with_a_reason_and_the_server_lives_on(port: int) -> None:
    status, failure = ask(port, "POST", "/generate", {"prompts": [[5000]], "max_new_tokens": 3})
    assert status == 422
    assert failure["type"] == "InputError"
    assert "5000 is outside the model's vocabulary" in failure["message"]
    assert failure["hint"] == "ids are 0 to 999"
    assert ask(port, "GET", "/generate")[0] == 405
    assert ask(port, "GET", "/nothing")[0] == 404
    assert ask(port, "GET", "/health")[0] == 200


def test_generations_run_one_at_a_time_and_health_answers_meanwhile(port: int) -> None:
    answers: list[tuple[list[float], float]] = []

    def generate() -> None:
        asked = {"prompts": [[1]], "max_new_tokens": 10}
        answer = ask(port, "POST", "/generate", asked)[1]
        answers.append((answer["times_s"], answer["engine_s"]))

    threads = [threading.Thread(target=generate) for _ in range(2)]
    begin_s = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert ask(port, "GET", "/health") == (
        200,
        {"model": "none", "configuration": "fake/cpu/fp32/b2/step_ms=20", "status": "ok"},
    )
    healthy_s = time.monotonic()
    for thread in threads:
        thread.join()
    (first, _), (second, second_engine_s) = sorted(answers)
    assert first[-1] < second[0]
    # Waiting for the first is no work of the engine's.
    assert 0.2 <= second_engine_s < 0.35
    assert healthy_s - begin_s < 0.4 <= second[-1] - begin_s


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PACKAGES", ("starlette", "no_such_package"))
    with pytest.raises(UnavailableError, match="needs no_such_package") as caught:
        serve.check()
    assert caught.value.hint == "pip install 'servewatt[serve]'"
