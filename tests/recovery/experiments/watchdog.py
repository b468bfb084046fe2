"""Workers that look alive and do nothing, under `tidewatch up`: not ready, ended, started again, nothing lost."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from streams.broker import free_port
from streams.operate.status import is_running, read_status
from streams.supervisor import running_stack
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import port_of, tansu
from tests.recovery.rig.kafka_proxy import KafkaProxy
from tests.recovery.rig.run import SECTIONS, Run, offline, traffic
from tests.recovery.rig.verdict import compare
from tests.recovery.sick.sitecustomize import HUNG_RESTORE, ILLNESSES
from tests.support.brokers import Broker
from tests.support.processes import Child, eventually, tidewatch

UNREADY_SECS: Final = 10.0
ENDED_SECS: Final = 30.0
PARTITIONS: Final = 4
SICK: Final = Path(__file__).resolve().parents[1] / "sick"


class Course(NamedTuple):
    """How one illness went, in seconds since it began."""

    illness: str
    unready_secs: float
    ended_secs: float
    recovered_secs: float
    """Until a new worker was ready."""

    def failures(self) -> list[str]:
        found = []
        if self.unready_secs > UNREADY_SECS:
            found.append(f"{self.illness}: not ready only after {self.unready_secs:.1f} s")
        if self.ended_secs > ENDED_SECS:
            found.append(f"{self.illness}: ended only after {self.ended_secs:.1f} s")
        return found


class Patient:
    """The detect worker of a stack."""

    def __init__(self, stack: Child, folder: Path) -> None:
        self.stack = stack
        self.state_dir = folder / "up-state"
        self.illness = folder / "illness"

    @property
    def pid(self) -> int:
        found = running_stack(self.state_dir)
        assert self.stack.running, self.stack.output()
        return found.processes.get("detect-1", 0) if found else 0

    def ready(self, pid: int) -> bool:
        """What /readyz of this process answers; no answer within a second is a no."""
        status = read_status(self.state_dir).get(("detect", pid))
        if status is None or not is_running(status):
            return False
        connection = http.client.HTTPConnection("127.0.0.1", status["port"], timeout=1.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def await_ready(self) -> int:
        eventually(lambda: self.ready(self.pid), within_secs=90, what="the worker is ready")
        return self.pid

    def falls_ill(self, name: str) -> Course:
        """Inject, and watch the worker until a new one is ready."""
        pid = self.await_ready()
        if name == HUNG_RESTORE:
            # The next start of a worker hangs: end this one by an illness that is quick.
            self.illness.write_text("dead fetcher")
            eventually(lambda: not self.illness.exists(), what="the worker falls ill")
            self.illness.write_text(name)
            eventually(lambda: not self.illness.exists(), within_secs=60, what="the restore hangs")
            pid = self.pid
            began = time.monotonic()
            unready_secs = self._until(lambda: not self.ready(pid), began)
        else:
            self.illness.write_text(name)
            eventually(lambda: not self.illness.exists(), what="the worker falls ill")
            began = time.monotonic()
            unready_secs = self._until(lambda: not self.ready(pid), began)
        ended_secs = self._until(lambda: self.pid != pid, began)
        eventually(lambda: self.ready(self.pid), within_secs=90, what="a new worker is ready")
        return Course(name, unready_secs, ended_secs, time.monotonic() - began)

    def _until(self, condition: object, began: float) -> float:
        assert callable(condition)
        eventually(condition, within_secs=120, what="the watchdog acts")
        return time.monotonic() - began


@contextmanager
def _up(folder: Path, limits: dict[str, float]) -> Iterator[Patient]:
    """``limits`` are those of [watchdog]; none are the defaults, which the goals are about."""
    tansu_of = Broker(f"127.0.0.1:{free_port()}", real=False)
    tansu_of.write_config(
        folder / "tidewatch.toml",
        folder / "up-state",
        **SECTIONS | {"topics": {"partitions": PARTITIONS}, "watchdog": limits},
    )
    env = {"PYTHONPATH": str(SICK), "TIDEWATCH_TEST_ILLNESS": str(folder / "illness")}
    with tidewatch("up", log=folder / "up.log", cwd=folder, env=env) as stack:
        patient = Patient(stack, folder)
        patient.await_ready()
        yield patient


def illnesses(scale: Scale) -> Outcome:
    """One stack, one illness after another while events come in; at the end all is as if nothing had been."""
    names = ["dead coordinator", "blocked event loop"] if scale.short else [*ILLNESSES, HUNG_RESTORE]
    events = traffic(scale.pick(6, 24))
    courses = []
    limits = {"blocked_secs": 8.0, "stall_secs": 8.0} if scale.short else {}
    with _up(scale.folder, limits) as patient:
        found = running_stack(patient.state_dir)
        assert found is not None
        run = Run(Broker(found.bootstrap, real=False), scale.folder / "run", PARTITIONS)
        feeder = run.send_slowly(events, seconds=scale.pick(12, 240))
        for name in names:
            courses.append(patient.falls_ill(name))
        feeder.join()
        run.await_end(events)
        verdict = compare(run.results(events), offline(events))
    slowest = max(courses, key=lambda course: course.ended_secs)
    return Outcome(
        runs=1,
        faults=len(courses),
        lost=verdict.lost,
        doubled=verdict.doubled,
        worst_stall_secs=max(course.recovered_secs for course in courses),
        notes=f"not ready after at most {max(c.unready_secs for c in courses):.1f} s; "
        f"ended after at most {slowest.ended_secs:.1f} s ({slowest.illness}); "
        + ", ".join(f"{c.illness} {c.unready_secs:.1f}/{c.ended_secs:.1f} s" for c in courses),
        failures=tuple(failure for course in courses for failure in course.failures()),
    )


def slow_but_healthy(scale: Scale) -> Outcome:
    """A broker with a round trip of two seconds, then none at all for a while: the worker must live."""
    events = traffic(scale.pick(3, 6))
    with ExitStack() as stack:
        broker = stack.enter_context(tansu())
        proxy = stack.enter_context(KafkaProxy(port_of(broker)))
        run = Run(broker, scale.folder / "run", PARTITIONS, kafka={"session_timeout_secs": 10.0})
        worker = run.worker(stack, through=proxy.address)
        status = ("detect", worker.pid)
        state_dir = run.config.state_dir
        eventually(lambda: read_status(state_dir).get(status, {}).get("ready"), within_secs=60)
        proxy.slow(2.0)
        feeder = run.send_slowly(events, seconds=scale.pick(6, 60))
        feeder.join()
        lived = _lives(worker, scale.pick(2, 90))
        proxy.restore()
        run.await_end(events)
        verdict = compare(run.results(events), offline(events))
        lived = lived and worker.running
    return Outcome(
        runs=1,
        faults=1,
        lost=verdict.lost,
        doubled=verdict.doubled,
        notes="one worker from beginning to end",
        failures=() if lived else (f"the worker ended: {run.last_words()}",),
    )


def _lives(worker: Child, secs: float) -> bool:
    end = time.monotonic() + secs
    while worker.running and time.monotonic() < end:
        time.sleep(0.2)
    return worker.running


EXPERIMENTS: Final = (
    Experiment(
        "watchdog",
        "dead coordinator, fetcher, producer; blocked loops and agent; hung restore, under `tidewatch up`",
        f"not ready within {UNREADY_SECS:.0f} s, ended within {ENDED_SECS:.0f} s, started again; equal results",
        ("tansu",),
        illnesses,
        short_secs=60,
    ),
    Experiment(
        "watchdog-patience",
        "a broker with a round trip of 2 s",
        "the worker is slow and not ended; equal results",
        ("tansu",),
        slow_but_healthy,
        short_secs=45,
    ),
)
