"""What happens when: history, live traffic, the incident, its alert, the rows. Knows nothing of how it looks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from streams.config import Config
from streams.demo.concurrency import alongside
from streams.demo.display import Display
from streams.demo.feeds import Lag, follow_results
from streams.demo.format import clock, segment_label
from streams.demo.model import AlertLine, DemoModel, Phase, ProcessLine, Track
from streams.demo.outcome import Outcome, is_firing, measure, touches
from streams.demo.queries import Answer, Query, queries
from streams.demo.sender import Sender
from streams.demo.settings import SHOWN, WATCHED, Options
from streams.demo.traffic import Traffic
from streams.signals import SIGNALS
from streams.simulate import Scenario, TrafficSpec, silent_model_change

SLICE_MS = 10_000
"""Event time sent at once while history is back-filled."""
TICK_SECS = 0.1
LONGEST_SECS = 1800.0
"""More live traffic than any run needs."""


class DemoFailed(Exception):
    """The demo did not get to its end; says what it saw."""


class Stack(Protocol):
    """The laptop stack as the demo needs it."""

    @property
    def config(self) -> Config: ...
    def processes(self) -> list[ProcessLine]: ...
    async def query(self, query: Query) -> Answer: ...


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Driver:
    """One run of the demo on a stack that is up."""

    def __init__(self, options: Options, stack: Stack, display: Display, model: DemoModel) -> None:
        self._options = options
        self._stack = stack
        self._display = display
        self._model = model
        self._scenario: Scenario | None = None
        self._alerted = asyncio.Event()
        self._stop_traffic = asyncio.Event()
        self._caught_up = asyncio.Event()

    async def run(self) -> Outcome:
        """The measured outcome.

        Raises:
            DemoFailed: a step did not come to its end in time; with a diagnosis.
        """
        start_ms = now_ms() - round(self._options.history_secs * 1000)
        traffic = Traffic(
            TrafficSpec(
                start_ms,
                self._options.history_secs + LONGEST_SECS,
                self._options.rate_per_sec,
                seed=self._options.seed,
                peak_trough=1.0,  # half an hour is too short for the daily cycle, so the demo has none
                weekend=1.0,
            )
        )
        config = self._stack.config
        async with Sender(config) as sender, Lag(config) as lag:
            return await alongside(
                self._script(traffic, lag, start_ms),
                follow_results(config, self._model, self._on_alert),
                lag.follow(self._model),
                self._send(traffic, sender, start_ms),
            )

    async def _script(self, traffic: Traffic, lag: Lag, start_ms: int) -> Outcome:
        await self._history(start_ms)
        scenario = await self._live(traffic)
        await self._incident(scenario)
        await self._alert(scenario)
        answers = await self._rows(lag, scenario)
        outcome = measure(
            self._model, scenario.truth, self._stack.config.windows.allowed_lateness_secs, answers
        )
        if outcome is None:
            raise DemoFailed("the alert was heard but is not in the model")
        return outcome

    async def _history(self, start_ms: int) -> None:
        minutes = self._options.history_secs / 60
        self._enter(Phase.HISTORY, f"back-filling {minutes:.0f} minutes of traffic from {clock(start_ms)}")
        await self._until(
            self._caught_up.is_set, self._options.catch_up_deadline_secs, "history was not sent in time"
        )
        config = self._stack.config
        behind_ms = config.base_window_ms * 2 + config.allowed_lateness_ms

        def closed() -> bool:
            until_ms = self._model.closed_until_ms
            return until_ms is not None and until_ms >= now_ms() - behind_ms

        self._model.doing = "waiting until every window of the history is closed"
        await self._until(
            closed, self._options.catch_up_deadline_secs, "the workers did not catch up with the traffic"
        )

    async def _live(self, traffic: Traffic) -> Scenario:
        onset_ms = now_ms() + round(self._options.quiet_secs * 1000)
        scenario = silent_model_change(onset_ms, LONGEST_SECS)
        traffic.strike(onset_ms, scenario.effects)
        self._scenario = scenario
        self._enter(Phase.LIVE, "live traffic, nothing wrong yet")
        await self._until(
            lambda: now_ms() >= onset_ms, self._options.quiet_secs + 5, "the clock stands still"
        )
        return scenario

    async def _incident(self, scenario: Scenario) -> None:
        self._model.onset_ms = scenario.truth.onset_ms
        self._enter(
            Phase.INCIDENT,
            f"{scenario.truth.segment['model_requested']} changed silently at {clock(scenario.truth.onset_ms)}",
            "the model changed, and nobody said so; waiting for the alert",
        )
        await self._until(
            self._alerted.is_set,
            self._options.alert_deadline_secs,
            f"no alert on {segment_label(WATCHED)} arrived within "
            f"{self._options.alert_deadline_secs:.0f} s of the onset",
        )

    async def _alert(self, scenario: Scenario) -> None:
        await asyncio.sleep(1.0)  # the alerts of one window arrive together; show the hit segment's own
        outcome = measure(self._model, scenario.truth, self._stack.config.windows.allowed_lateness_secs, ())
        assert outcome is not None  # noqa: S101 - set with the event
        self._model.headline = outcome.first
        alert = outcome.first.alert
        self._enter(
            Phase.ALERT,
            f"ALERT {outcome.delay_secs:.1f} s after the onset: [{alert['severity']}] {alert['summary']}",
            "alert received; traffic goes on for a moment",
        )
        await asyncio.sleep(self._options.linger_secs)
        if alert["severity"] != "critical":
            await asyncio.sleep(self._options.linger_secs)
        self._stop_traffic.set()

    async def _rows(self, lag: Lag, scenario: Scenario) -> list[Answer]:
        self._enter(Phase.ROWS, "traffic stopped; waiting until every row is stored")
        deadline = time.monotonic() + self._options.rows_deadline_secs
        while left := await lag.of("record"):
            self._model.lag_records["record"] = left
            if time.monotonic() > deadline:
                raise DemoFailed(self._diagnosis(f"RECORD still has {left:,} records to store"))
            await asyncio.sleep(0.3)
        self._model.lag_records["record"] = 0
        label = ",".join(f"{name}={value}" for name, value in WATCHED.items())
        asked = queries(scenario.truth.onset_ms, now_ms(), label, WATCHED["model"])
        self._model.doing = f"asking {len(asked)} questions in SQL"
        answers = [await self._stack.query(query) for query in asked]
        self._model.doing = "done"
        return answers

    def _enter(self, phase: Phase, text: str, doing: str | None = None) -> None:
        self._model.phase = phase
        self._model.doing = doing or text
        tick(self._model, self._stack.processes())
        self._display.say(self._model, text)

    async def _until(self, reached: Callable[[], bool], deadline_secs: float, otherwise: str) -> None:
        deadline = time.monotonic() + deadline_secs
        while not reached():
            if time.monotonic() > deadline:
                raise DemoFailed(self._diagnosis(otherwise))
            await asyncio.sleep(TICK_SECS)

    def _on_alert(self, line: AlertLine) -> None:
        scenario = self._scenario
        if scenario is None or not is_firing(line) or line.received_ms < scenario.truth.onset_ms:
            return
        if touches(line.alert["segment"], scenario.truth):
            self._alerted.set()

    async def _send(self, traffic: Traffic, sender: Sender, at_ms: int) -> None:
        sent_at: deque[tuple[float, int]] = deque(maxlen=20)
        while not self._stop_traffic.is_set():
            clock_ms = now_ms()
            at_ms = min(clock_ms, at_ms + SLICE_MS)
            if events := traffic.take(at_ms):
                await sender.send(events)
                self._model.first_ms = self._model.first_ms or events[0].occurred_at_ms
                self._model.newest_ms = events[-1].occurred_at_ms
                self._model.sent = sender.sent
            sent_at.append((time.monotonic(), sender.sent))
            (since, before), (until, after) = sent_at[0], sent_at[-1]
            self._model.rate_per_sec = (after - before) / (until - since) if until > since else 0.0
            if at_ms == clock_ms:
                self._caught_up.set()
                await asyncio.sleep(TICK_SECS)
        self._model.rate_per_sec = 0.0

    def _diagnosis(self, what: str) -> str:
        model = self._model
        lines = [what, f"sent {model.sent:,} records; closed {model.windows_closed} windows"]
        if model.closed_until_ms is not None:
            behind_secs = (now_ms() - model.closed_until_ms) / 1000
            lines.append(f"watermark {clock(model.closed_until_ms)}, {behind_secs:.0f} s behind now")
        lines += [f"lag of {role}: {records:,} records" for role, records in model.lag_records.items()]
        lines += [f"{p.name}: {p.state}" for p in self._stack.processes() if p.state != "running"]
        for track in model.tracks.values():
            if track.values:
                usual = track.usual()
                expected = "still learning" if usual is None else f"usually {usual:.4g}"
                lines.append(f"{track.name} of {segment_label(WATCHED)}: {track.values[-1]:.4g}, {expected}")
        lines.append(f"{len(model.alerts)} alerts and {len(model.incidents)} incidents heard in all")
        return "\n  ".join(lines)


def tick(model: DemoModel, processes: list[ProcessLine]) -> None:
    """Let the model's clock and processes be those of now."""
    was_ms, model.now_ms = model.now_ms, now_ms()
    model.elapsed_secs += (model.now_ms - was_ms) / 1000 if was_ms else 0.0
    model.processes = processes


def new_model(base_ms: int) -> DemoModel:
    """The model before anything happened."""
    return DemoModel(base_ms, WATCHED, {name: Track(name, SIGNALS[name].unit) for name in SHOWN})
