"""Windows of the fleet: any interleaving, chunking, partitioning, repeat or takeover gives the same result."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors.sketches.block import decode, encode, merge
from streams.aggregate import Aggregate, AggregateStep
from streams.closing import MAX_SILENT_WINDOWS, Closing
from streams.config import Config, parse_config
from streams.messages import LocalRecord, Message
from streams.partials import Partial, Watermark, decode_log_record
from streams.signals import LAYOUT
from streams.topics import DEADLETTERS, PARTIALS

TOPIC = "llm.interactions"
T0 = 1_790_000_000_000
NOW = T0 + 86_400_000
CONFIG = parse_config({"segments": {"by": [["model"], ["tenant"]]}})


def event(n: int, at_ms: int) -> bytes:
    return orjson.dumps(
        {
            "event_id": f"e{n}",
            "occurred_at": T0 + at_ms,
            "model_requested": f"m{n % 2}",
            "tenant": f"t{n % 3}",
            "duration_ms": 10.0 + n,
            "refusal": n % 5 == 0,
        }
    )


def records(values: Sequence[bytes | None], partition: int = 0) -> list[LocalRecord]:
    return [LocalRecord(TOPIC, partition, offset, value) for offset, value in enumerate(values)]


def aggregate(partition: int, total: int, attempt: str = "a", config: Config = CONFIG) -> Aggregate:
    return Aggregate(config, topic=TOPIC, partition=partition, attempt=attempt, sources_total=total)


class Fleet:
    """DECIDE's closing over a log of messages."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.closing = Closing(base_ms=config.base_window_ms, lateness_ms=config.allowed_lateness_ms)
        self.windows: dict[int, bytes] = {}

    def take(self, messages: Iterable[Message]) -> None:
        for message in messages:
            for closed in self.closing.step(decode_log_record(message.value)):
                assert closed.window_start_ms not in self.windows, "a window closed twice"
                blocks = [decode(data, LAYOUT) for data in closed.blocks]
                self.windows[closed.window_start_ms] = encode(merge(blocks, LAYOUT))

    def filled(self) -> dict[int, bytes]:
        empty = encode(merge([], LAYOUT))
        return {start: block for start, block in self.windows.items() if block != empty}


def chunks(items: Sequence[LocalRecord], sizes: Iterator[int]) -> Iterator[Sequence[LocalRecord]]:
    at = 0
    while at < len(items):
        size = next(sizes)
        yield items[at : at + size]
        at += size


def run(partitions: Sequence[Sequence[bytes]], seed: int, max_chunk: int) -> dict[int, bytes]:
    """Every partition as its own source, chunks of random sizes in random order; the log in that order."""
    rng = random.Random(seed)
    fleet = Fleet()
    sources = [aggregate(at, len(partitions)) for at in range(len(partitions))]
    waiting = []
    for at, values in enumerate(partitions):
        fleet.take(sources[at].start().messages)
        sizes = iter(lambda: rng.randint(1, max_chunk), None)
        waiting.append(list(chunks(records(values, at), sizes)))
    while any(waiting):
        at = rng.choice([at for at, left in enumerate(waiting) if left])
        fleet.take(sources[at].add(waiting[at].pop(0), NOW).messages)
    for source in (*sources, *sources):
        fleet.take(source.idle(0).messages)
    return fleet.filled()


times = st.lists(st.integers(0, 120_000), min_size=1, max_size=60).map(sorted)


@st.composite
def disordered(draw: st.DrawFn) -> list[bytes]:
    """Events in time order, each then delayed by less than the allowed lateness."""
    at = draw(times)
    delays = [draw(st.integers(0, 14_000)) for _ in at]
    order = sorted(range(len(at)), key=lambda n: at[n] + delays[n])
    return [event(n, at[n]) for n in order]


@settings(deadline=None)
@given(disordered(), st.integers(1, 5), st.integers(0, 2**32), st.integers(1, 20))
@example([event(0, 0), event(1, 10_000), event(2, 10_000), event(3, 35_000)], 2, 0, 1)
def test_partitions_chunks_and_interleaving_do_not_matter(
    values: list[bytes], partitions: int, seed: int, max_chunk: int
) -> None:
    whole = run([values], 0, len(values))
    spread = [values[at::partitions] for at in range(partitions)]
    assert run(spread, seed, max_chunk) == whole
    assert sum(int(decode(block, LAYOUT).counters[0, 0]) for block in whole.values()) == len(values)


@settings(deadline=None)
@given(disordered(), st.integers(0, 2**32), st.data())
def test_a_killed_worker_changes_nothing(values: list[bytes], seed: int, data: st.DataObject) -> None:
    """The next attempt starts at the committed offset; what the first one left half done does not count."""
    rng = random.Random(seed)
    fleet, everything = Fleet(), records(values)
    committed, attempt, at = 0, 0, 0
    source = aggregate(0, 1, "attempt-0")
    fleet.take(source.start().messages)
    while at < len(everything):
        size = rng.randint(1, 8)
        step: AggregateStep = source.add(everything[at : at + size], NOW)
        at += size
        if data.draw(st.integers(0, 3)) == 0:  # killed after some of its messages became durable
            fleet.take(step.messages[: rng.randint(0, len(step.messages))])
            attempt += 1
            source, at = aggregate(0, 1, f"attempt-{attempt}"), committed
            fleet.take(source.start().messages)
            if attempt > 20:
                break
            continue
        fleet.take(step.messages)
        committed = step.commit_offset if step.commit_offset is not None else committed
    if at < len(everything):
        fleet.take(source.add(everything[at:], NOW).messages)
    fleet.take(source.idle(0).messages)
    assert fleet.filled() == run([values], 0, len(values))


def test_a_zombie_and_its_successor_do_not_mix() -> None:
    values = [event(n, n * 1000) for n in range(60)]
    everything = records(values)
    zombie, successor = aggregate(0, 1, "zombie"), aggregate(0, 1, "successor")
    fleet = Fleet()
    fleet.take(zombie.start().messages)
    late = zombie.add(everything[:40], NOW).messages
    fleet.take(successor.start().messages)
    fleet.take(successor.add(everything[:40], NOW).messages)
    fleet.take(late)
    fleet.take(successor.add(everything[40:], NOW).messages)
    fleet.take(zombie.add(everything[40:], NOW).messages)
    fleet.take(successor.idle(0).messages)
    assert fleet.filled() == run([values], 0, 60)


def test_an_unheard_source_holds_every_window() -> None:
    fleet = Fleet()
    first, second = aggregate(0, 2), aggregate(1, 2)
    fleet.take(first.start().messages)
    fleet.take(first.add(records([event(n, n * 1000) for n in range(60)]), NOW).messages)
    assert not fleet.windows
    fleet.take(second.start().messages)
    assert not fleet.windows, "it may still have records"
    fleet.take(second.idle(10_000).messages)
    assert sorted(fleet.windows) == [T0 + n * 10_000 for n in range(4)]


def test_an_idle_source_vouches_only_for_what_had_been_seen() -> None:
    fleet = Fleet()
    busy, quiet = aggregate(0, 2), aggregate(1, 2)
    for source in (busy, quiet):
        fleet.take(source.start().messages)
    fleet.take(busy.add(records([event(n, n * 1000) for n in range(40)]), NOW).messages)
    fleet.take(quiet.idle(10_000).messages)
    assert sorted(fleet.windows) == [T0, T0 + 10_000]
    more = [LocalRecord(TOPIC, 0, 40 + n, event(40 + n, 40_000 + n * 1000)) for n in range(60)]
    fleet.take(busy.add(more, NOW).messages)
    assert len(fleet.windows) == 2, "its worker may have died, with records unread"
    fleet.take(quiet.idle(11_000).messages)
    assert len(fleet.windows) == 8


def test_who_was_paused_does_not_vouch_for_what_another_reads_by_now() -> None:
    values = [event(n, n * 1000) for n in range(100)]
    busy, zombie, successor = aggregate(0, 2), aggregate(1, 2, "zombie"), aggregate(1, 2, "successor")
    fleet = Fleet()
    for source in (busy, zombie, successor):
        fleet.take(source.start().messages)
    held = [LocalRecord(TOPIC, 1, 0, event(100, 5_000))]
    fleet.take(successor.add(held, NOW).messages)
    fleet.take(busy.add(records(values), NOW).messages)
    fleet.take(zombie.idle(10_000).messages)
    assert not fleet.windows, "the successor has a record of the first one"
    fleet.take(successor.idle(10_000).messages)
    assert len(fleet.windows) == 8
    assert fleet.windows == {
        start: block for start, block in run([[*values[:6], event(100, 5_000), *values[6:]]], 0, 60).items()
        if start in fleet.windows
    }  # fmt: skip


def test_it_is_known_which_source_the_windows_wait_for() -> None:
    fleet = Fleet()
    fast, slow = aggregate(0, 2), aggregate(1, 2)
    fleet.take(fast.start().messages)
    fleet.take(fast.add(records([event(n, n * 1000) for n in range(100)]), NOW).messages)
    assert fleet.closing.held_up is None, "one is unheard"
    fleet.take(slow.start().messages)
    fleet.take(slow.add(records([event(n, n * 1000) for n in range(40)], 1), NOW).messages)
    assert fleet.closing.held_up == (f"{TOPIC}-1", 60_000)
    fleet.take(slow.idle(10_000).messages)
    assert fleet.closing.held_up is None


def test_a_woken_source_holds_the_windows_again() -> None:
    fleet = Fleet()
    busy, quiet = aggregate(0, 2), aggregate(1, 2)
    for source in (busy, quiet):
        fleet.take(source.start().messages)
    fleet.take(busy.add(records([event(n, n * 1000) for n in range(40)]), NOW).messages)
    fleet.take(quiet.idle(10_000).messages)
    closed = max(fleet.windows)
    fleet.take(quiet.add(records([event(100, 39_000)], 1), NOW).messages)
    more = [LocalRecord(TOPIC, 0, 40 + n, event(40 + n, 40_000 + n * 1000)) for n in range(60)]
    fleet.take(busy.add(more, NOW).messages)
    assert max(fleet.windows) == closed, "the woken source has sealed no more than that"
    fleet.take(quiet.idle(0).messages)
    window = decode(fleet.windows[T0 + 30_000], LAYOUT)
    assert window.counters[0, 0] == 11


def test_silence_goes_on_by_the_time_that_all_sources_report() -> None:
    fleet = Fleet()
    source = aggregate(0, 1)
    fleet.take(source.start().messages)
    fleet.take(source.add(records([event(0, 0)]), NOW).messages)
    fleet.take(source.idle(10_000).messages)
    assert sorted(fleet.windows) == [T0]
    fleet.take(source.idle(60_000).messages)
    assert sorted(fleet.windows) == [T0 + n * 10_000 for n in range(4)]


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_a_long_silence_is_the_same_in_one_step_or_in_many(steps: int) -> None:
    gap_windows = 5000
    fleet = Fleet()
    source = aggregate(0, 1)
    fleet.take(source.start().messages)
    fleet.take(source.add(records([event(0, 0)]), NOW).messages)
    for step in range(1, steps + 1):
        fleet.take(source.idle(gap_windows * 10_000 * step // steps).messages)
    fleet.take(source.add([LocalRecord(TOPIC, 0, 1, event(1, gap_windows * 10_000))], NOW).messages)
    fleet.take(source.idle(0).messages)
    assert len(fleet.filled()) == 2
    assert len(fleet.windows) == 2 + MAX_SILENT_WINDOWS


def test_late_records_are_counted_and_left_out() -> None:
    source = aggregate(0, 1)
    step = source.add(records([event(0, 0), event(1, 100_000), event(2, 1_000)]), NOW)
    watermark = decode_log_record(step.messages[-1].value)
    assert isinstance(watermark, Watermark)
    assert watermark.late == 1
    assert step.commit_offset == 1, "the open window of the second record still needs it"


def test_duplicates_within_a_window_count_once() -> None:
    twice = [event(0, 0), event(1, 10), event(0, 0)]
    assert run([twice], 0, 1) == run([twice[:2]], 0, 2)


def test_a_partial_that_is_sent_twice_counts_once() -> None:
    values = [event(n, n * 2000) for n in range(30)]
    fleet, source = Fleet(), aggregate(0, 1)
    for step in (source.start(), source.add(records(values), NOW), source.idle(0)):
        fleet.take([again for message in step.messages for again in (message, message)])
    assert fleet.filled() == run([values], 0, 30)


def test_a_half_sent_window_of_a_dead_attempt_does_not_count() -> None:
    fleet = Fleet()
    dead = aggregate(0, 1, "dead")
    fleet.take(dead.start().messages)
    step = dead.add(records([event(n, n * 2000) for n in range(30)]), NOW)
    partials = [m for m in step.messages if isinstance(decode_log_record(m.value), Partial)]
    fleet.take(partials)
    values = [event(n, n * 2000) for n in range(30)]
    heir = aggregate(0, 1, "heir")
    fleet.take(heir.start().messages)
    fleet.take(heir.add(records(values), NOW).messages)
    fleet.take(heir.idle(0).messages)
    assert fleet.filled() == run([values], 0, 30)


WRONG_CLOCKS_MS = {
    "1970": lambda at: 5_000,
    "an hour slow": lambda at: at - 3_600_000,
    "an hour fast": lambda at: at + 3_600_000,
    "a century fast": lambda at: at + 100 * 365 * 86_400_000,
}


@st.composite
def stamped(draw: st.DrawFn, partitions: int) -> list[list[tuple[int, int, bool]]]:
    """By partition, in the order of the log: (event time, append time, honest); the first of each is honest."""
    log: list[list[tuple[int, int, bool]]] = [[] for _ in range(partitions)]
    honest = [(at, at + draw(st.integers(0, 14_000))) for at in draw(times)]
    for at, appended in sorted(honest, key=lambda record: record[1]):
        place = log[draw(st.integers(0, partitions - 1))]
        place.append((T0 + at, T0 + appended, True))
        if draw(st.booleans()):
            wrong = draw(st.sampled_from(sorted(WRONG_CLOCKS_MS)))
            place.append((WRONG_CLOCKS_MS[wrong](T0 + appended), T0 + appended, False))
    return log


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4).flatmap(stamped), st.integers(0, 2**32), st.integers(1, 9))
def test_wrong_clocks_change_nothing_for_others(
    log: list[list[tuple[int, int, bool]]], seed: int, max_chunk: int
) -> None:
    """The broker stamps the records: what is slow is late, what is far too fast is refused, both are counted."""

    def closed(everybody: bool) -> tuple[dict[int, bytes], int]:
        rng = random.Random(seed)
        fleet, refused = Fleet(), 0
        sources = [aggregate(at, len(log)) for at in range(len(log))]
        for at, place in enumerate(log):
            fleet.take(sources[at].start().messages)
            made = [
                LocalRecord(TOPIC, at, offset, event(offset, at_ms - T0), None, appended_ms, 1)
                for offset, (at_ms, appended_ms, honest) in enumerate(place)
                if everybody or honest
            ]
            for chunk in chunks(made, iter(lambda: rng.randint(1, max_chunk), None)):
                # Read when the wrong ones' future has long come.
                messages = sources[at].add(chunk, NOW + 2 * 86_400_000).messages
                fleet.take(message for message in messages if message.topic == PARTIALS)
                refused += sum(message.topic == DEADLETTERS for message in messages)
        watermarks = [decode_log_record(source.idle(0).messages[-1].value) for source in sources]
        for source in (*sources, *sources):
            fleet.take(source.idle(0).messages)
        late = sum(record.late for record in watermarks if isinstance(record, Watermark))
        return fleet.filled(), refused + late

    wrong = sum(not honest for place in log for _, _, honest in place)
    assert closed(True) == (closed(False)[0], wrong)
    assert closed(False)[1] == 0
