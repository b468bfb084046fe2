"""What reaches the log: JSON, a bounded rate, and nothing that a record holds."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streams.logs import WITHHELD, RateLimit, _without_contents, describe
from streams.watchdog import Stalled


def test_a_storm_passes_so_many_lines_a_minute_and_then_says_how_many_were_left_out() -> None:
    now = 0.0
    limit = RateLimit(lines=3, clock=lambda: now)

    def lines(count: int) -> list[dict[str, object]]:
        passed = []
        for _ in range(count):
            try:
                passed.append(dict(limit(None, "", {"event": "storm"})))
            except structlog.DropEvent:
                continue
        return passed

    assert lines(1000) == [{"event": "storm"}] * 3
    assert limit(None, "", {"event": "another"}) == {"event": "another"}
    now = 61.0
    assert lines(2) == [{"event": "storm", "suppressed": 997}, {"event": "storm"}]
    assert limit.suppressed == 997


def test_names_that_are_made_up_cost_no_memory() -> None:
    limit = RateLimit()
    for n in range(5000):
        limit(None, "", {"event": f"name {n}"})
    assert len(limit._windows) <= 501


PROGRAM = """
import logging
from streams.logs import configure_logging
import structlog
configure_logging()
for n in range(100):
    logging.getLogger("some.library").error("cannot do %s", n)
try:
    float("a prompt")
except ValueError as error:
    structlog.get_logger().error("ours", exc_info=error)
    logging.getLogger("some.library").exception("theirs")
"""


def test_libraries_and_we_write_json_at_a_bounded_rate_and_no_contents() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True
    )
    lines = [orjson.loads(line) for line in ended.stderr.splitlines()]
    assert [line["event"] for line in lines] == [f"cannot do {n}" for n in range(10)] + ["ours", "theirs"]
    assert {line["level"] for line in lines} == {"error"}
    assert lines[0]["logger"] == "some.library"
    for line in lines[-2:]:
        assert line["exception"][0]["error"] == f"ValueError: {WITHHELD}"
        assert any("<string>" in frame for frame in line["exception"][0]["frames"])
    assert "a prompt" not in ended.stderr


TEXT = st.text(min_size=4).map(lambda text: f"prompt{text}")


@given(text=TEXT, kind=st.sampled_from([ValueError, KeyError, TypeError, RuntimeError, LookupError]))
def test_what_an_exception_quotes_does_not_reach_the_log(text: str, kind: type[Exception]) -> None:
    try:
        try:
            raise kind(text)
        except kind as error:
            raise RuntimeError(text) from error
    except RuntimeError as error:
        line = _without_contents(None, "", {"event": "failed", "exc_info": error})
    rendered = orjson.dumps(line).decode()
    assert "prompt" not in rendered.replace("prompt_", "")
    assert len(line["exception"]) == 2


@pytest.mark.parametrize("error", [Stalled("llm.interactions-0 stands at 5"), ConnectionError("refused")])
def test_our_own_errors_and_those_of_the_network_speak(error: Exception) -> None:
    assert str(error) in describe(error)
