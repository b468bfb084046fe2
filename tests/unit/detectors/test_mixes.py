"""Mixes: which label's share changed, by how much, and when it is back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
import pytest
from builders import BASE_MS, START_MS, mixed

from detectors.base import Verdict
from detectors.explaining import Explanation
from detectors.incidents.triage import Triage, TriageParams
from detectors.mixes.directory import LEARN, MAX_LABELS
from detectors.monitor import Detect, DetectParams
from detectors.records import FLEET, OVERFLOW_VALUE, Evidence, SegmentKey, Severity
from detectors.sketches.window import WindowBlock
from detectors.telling import LEVEL
from streams.signals import SIGNALS

EU = SegmentKey(("region",), ("eu",))
TOPICS = {"billing": 0.4, "returns": 0.3, "travel": 0.2, "legal": 0.1}
N = 40
"""Observations of a window."""


def new(**mixes: float) -> Detect:
    """With panes of a window, which keeps the tests short."""
    params = DetectParams.model_validate({"mixes": {"pane_secs": BASE_MS // 1000} | mixes})
    return Detect(params, (), SIGNALS, BASE_MS)


def draw(rng: np.random.Generator, shares: dict[str, float], n: int = N) -> dict[str, int]:
    p = np.array(list(shares.values()))
    return dict(zip(shares, rng.multinomial(n, p / p.sum()).tolist(), strict=True))


def windows(
    rng: np.random.Generator,
    shares: dict[str, float],
    count: int,
    start: int = 0,
    category: str = "topic",
    segment: SegmentKey = FLEET,
    n: int = N,
) -> Iterator[WindowBlock]:
    for k in range(start, start + count):
        yield mixed(START_MS + k * BASE_MS, {segment: {category: draw(rng, shares, n)}})


def play(detect: Detect, blocks: Iterable[WindowBlock], *, freeze: bool = False) -> list[Evidence]:
    found: list[Evidence] = []
    for block in blocks:
        evidence = [e for e in detect.close(block).evidence if e.signal.endswith("_mix")]
        found += evidence
        if freeze:
            detect.apply(Verdict("freeze" if e.firing else "thaw", e.segment, e.signal) for e in evidence)
    return found


def with_new(share: float, label: str = "scams") -> dict[str, float]:
    return {name: p * (1.0 - share) for name, p in TOPICS.items()} | {label: share}


def affordable(evidence: Iterable[Evidence]) -> list[Evidence]:
    """What TRIAGE would take: a warning a week may be false, shared by all signals."""
    return [
        e
        for e in evidence
        if e.firing and e.false_per_week is not None and e.false_per_week <= 5 / len(SIGNALS)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_new_topic_of_an_eighth_is_found_within_160_interactions(seed: int) -> None:
    detect, rng = new(), np.random.default_rng(seed)
    assert not affordable(play(detect, windows(rng, TOPICS, 300)))
    found = affordable(play(detect, windows(rng, with_new(0.12), 12, start=300)))
    assert found
    first = found[0]
    assert first.signal == "topic_mix"
    assert first.label == "scams"
    assert first.window_end_ms <= START_MS + (300 + 160 // N) * BASE_MS
    assert first.expected < 0.001
    assert first.observed == pytest.approx(0.12, abs=0.08)
    assert first.started_at_ms >= START_MS + 298 * BASE_MS
    assert found[-1].severity == Severity.WARNING


def test_an_attribute_that_goes_missing_is_found_among_other_attributes() -> None:
    detect, rng = new(), np.random.default_rng(1)
    tiers = {"customer_tier=free": 0.7, "customer_tier=paid": 0.299, "customer_tier=": 0.001}

    def both(count: int, start: int, missing: float) -> Iterator[WindowBlock]:
        locales = {"doc_locale=en": 0.8 - missing, "doc_locale=de": 0.2, "doc_locale=": missing}
        for k in range(start, start + count):
            counts = draw(rng, locales) | draw(rng, tiers)
            yield mixed(START_MS + k * BASE_MS, {FLEET: {"attributes": counts}})

    assert not affordable(play(detect, both(300, 0, 0.001)))
    found = affordable(play(detect, both(15, 300, 0.05)))
    assert found
    assert {e.label for e in found} == {"doc_locale="}
    assert found[-1].expected == pytest.approx(0.001, abs=0.001)
    assert found[-1].observed == pytest.approx(0.05, abs=0.03)


def test_what_moves_most_is_told_and_rises_come_before_falls() -> None:
    detect, rng = new(), np.random.default_rng(2)
    play(detect, windows(rng, {"a": 0.8, "b": 0.2}, 200, category="model_served"))
    found = play(detect, windows(rng, {"a": 0.2, "b": 0.8}, 16, start=200, category="model_served"))
    assert {(e.signal, e.label) for e in found} == {("model_served_mix", "b")}
    effect = detect.effects.effect(FLEET, "model_served_mix")
    assert effect is not None
    assert effect.label == "b"
    assert effect.observed - effect.expected == pytest.approx(0.6, abs=0.1)
    assert effect.shift == pytest.approx(effect.observed - effect.expected)


def test_bursty_traffic_without_a_change_gives_no_warning() -> None:
    """More than 1e5 updates of labels; each window's shares wander about the usual ones (Dirichlet)."""
    detect, rng, found = new(), np.random.default_rng(3), list[Evidence]()
    shares = np.array([0.3, 0.2, 0.1, *[0.016] * 25])
    names = [f"topic-{k}" for k in range(len(shares))]
    segments = [SegmentKey(("region",), (f"r{k}",)) for k in range(8)]
    for k in range(500):
        counts = {}
        for segment in segments:
            n = int(rng.poisson(2 * N * rng.gamma(4.0, 0.25))) + 1
            drawn = rng.multinomial(n, rng.dirichlet(500.0 * shares)).tolist()
            counts[segment] = {"topic": dict(zip(names, drawn, strict=True))}
        found += play(detect, [mixed(START_MS + k * BASE_MS, counts)])
    assert not [e for e in affordable(found) if e.severity > Severity.INFO]


def test_one_label_costs_nothing_and_a_second_one_is_news() -> None:
    detect, rng = new(), np.random.default_rng(4)
    assert not play(detect, windows(rng, {"v1": 1.0}, 200, category="prompt_version"))
    assert detect.effects.effect(FLEET, "prompt_version_mix") is None
    assert not msgspec.msgpack.decode(msgspec.msgpack.encode(detect.to_state()))["mixes"]["glr"]["change"][
        "size"
    ]
    found = affordable(
        play(detect, windows(rng, {"v1": 0.5, "v2": 0.5}, 5, start=200, category="prompt_version"))
    )
    assert found[0].label == "v2"
    assert found[0].window_end_ms == START_MS + 201 * BASE_MS


def test_small_segments_wait_for_enough_and_segments_of_two_dimensions_are_not_judged() -> None:
    detect, rng = new(), np.random.default_rng(5)
    pair = SegmentKey(("model", "topic"), ("x", "billing"))
    play(detect, windows(rng, TOPICS, 100, segment=pair))
    assert detect.effects.effect(pair, "topic_mix") is None
    play(detect, windows(rng, TOPICS, LEARN // 2 - 1, segment=EU, n=2))
    assert detect.effects.effect(EU, "topic_mix") is None
    play(detect, windows(rng, TOPICS, 100, start=200, segment=EU))
    assert detect.effects.effect(EU, "topic_mix") is not None


def test_no_more_labels_than_the_cap_however_many_there_are() -> None:
    detect, rng = new(), np.random.default_rng(6)
    many = {f"t{k:03d}": 1.0 / (k + 5) for k in range(90)}
    play(detect, windows(rng, many, 150))
    state = detect.to_state()["mixes"]["counts"]["directory"]
    assert state["size"] == MAX_LABELS + 1
    late = {f"u{k:03d}": 0.02 for k in range(60)}
    found = affordable(play(detect, windows(rng, many | late, 40, start=150)))
    assert detect.to_state()["mixes"]["counts"]["directory"]["size"] == MAX_LABELS + 1
    assert OVERFLOW_VALUE in {e.label for e in found}, "what is counted together is judged, too"


def test_faded_labels_make_room_for_what_was_counted_together() -> None:
    detect, rng = new(), np.random.default_rng(7)
    play(detect, windows(rng, {f"v{k}": 1.0 for k in range(MAX_LABELS)}, 100, category="prompt_version"))
    later = {"v0": 0.5, "x": 0.5}
    play(detect, windows(rng, later, 10, start=100, category="prompt_version"), freeze=True)
    detect.apply([Verdict("relearn", FLEET, "prompt_version_mix")])
    assert not affordable(play(detect, windows(rng, later, 500, start=110, category="prompt_version")))
    newest = {"v0": 0.4, "x": 0.4, "y": 0.2}
    found = affordable(play(detect, windows(rng, newest, 5, start=610, category="prompt_version")))
    assert {e.label for e in found} == {"y"}


def test_while_frozen_nothing_is_learned_and_the_end_is_told() -> None:
    detect, rng = new(), np.random.default_rng(8)
    play(detect, windows(rng, TOPICS, 300))
    during = play(detect, windows(rng, with_new(0.4), 360, start=300), freeze=True)
    assert all(e.firing for e in during)
    assert during[-1].expected < 0.01, "an hour later that is still not normal"
    after = play(detect, windows(rng, TOPICS, 30, start=660), freeze=True)
    back = [e for e in after if not e.firing]
    assert [(e.detector, e.signal, e.label) for e in back] == [(LEVEL, "topic_mix", "scams")]
    assert back[0].window_end_ms <= START_MS + 680 * BASE_MS
    assert not affordable(play(detect, windows(rng, TOPICS, 100, start=690)))


def test_in_the_window_in_which_a_mix_is_back_nothing_says_that_it_moved() -> None:
    params = DetectParams.model_validate({"repeat_secs": 0, "mixes": {"pane_secs": BASE_MS // 1000}})
    detect, rng = Detect(params, (), SIGNALS, BASE_MS), np.random.default_rng(14)
    play(detect, windows(rng, TOPICS, 300))
    for k, shares in enumerate([with_new(0.4)] * 40 + [TOPICS] * 30):
        found = play(detect, windows(rng, shares, 1, start=300 + k), freeze=True)
        assert len({e.firing for e in found}) <= 1


def test_in_a_sparse_segment_a_change_began_when_the_new_label_was_first_seen() -> None:
    detect, rng = new(pane_secs=600), np.random.default_rng(15)
    play(detect, windows(rng, TOPICS, 60 * 40, n=1))
    began = 60 * 40 + 45
    play(detect, windows(rng, TOPICS, 45, start=60 * 40, n=1))
    found = play(detect, windows(rng, with_new(0.9), 90, start=began, n=1))
    assert found[0].label == "scams"
    assert START_MS + began * BASE_MS <= found[0].started_at_ms <= START_MS + (began + 5) * BASE_MS


def test_a_new_normal_is_learned_after_relearn() -> None:
    detect, rng = new(), np.random.default_rng(9)
    play(detect, windows(rng, TOPICS, 300))
    play(detect, windows(rng, with_new(0.4), 60, start=300), freeze=True)
    detect.apply([Verdict("relearn", FLEET, "topic_mix")])
    assert not affordable(play(detect, windows(rng, with_new(0.4), 300, start=360)))
    effect = detect.effects.effect(FLEET, "topic_mix")
    assert effect is not None
    assert affordable(play(detect, windows(rng, TOPICS, 20, start=660))), "the old mix is a change now"


def test_a_mix_that_was_seen_at_that_hour_of_an_earlier_week_is_normal() -> None:
    detect, triage, rng = new(), Triage(TriageParams(), "test"), np.random.default_rng(10)
    weekend = {"billing": 0.1, "returns": 0.1, "travel": 0.7, "legal": 0.1}
    every_ms, week_ms = 1_200_000, 7 * 86_400_000
    told: list[int] = []
    for k in range(3 * week_ms // every_ms):
        at_ms = START_MS + k * every_ms
        weekend_ms = at_ms % week_ms
        shares = weekend if weekend_ms < 2 * 86_400_000 else TOPICS
        block = mixed(at_ms, {FLEET: {"topic": draw(rng, shares, 200)}})
        step = triage.step(detect.close(block).evidence, block, SIGNALS, effects=detect.effects)
        detect.apply(step.verdicts)
        turning = weekend_ms % (2 * 86_400_000) < 6 * 3_600_000 and weekend_ms < 3 * 86_400_000
        told += [k // (week_ms // every_ms) for alert in step.alerts if turning and alert.resolved_at is None]
    assert told == [0, 0], (
        "nobody could know the first weekend; later ones neither begin nor end with an alert"
    )


@pytest.mark.parametrize("cut", [3, 57, 301, 306, 330])
def test_a_snapshot_at_any_cut_is_invisible(cut: int) -> None:
    rng = np.random.default_rng(11)
    blocks = [*windows(rng, TOPICS, 300), *windows(rng, with_new(0.3), 20, start=300)]
    blocks += list(windows(rng, TOPICS, 40, start=320))
    whole, first = new(), new()
    expected = play(whole, blocks, freeze=True)
    found = play(first, blocks[:cut], freeze=True)
    second = new()
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(first.to_state()))
    assert second.from_state(state) == []
    found += play(second, blocks[cut:], freeze=True)
    assert found == expected
    assert second.to_state() == whole.to_state()
    assert any(not e.firing for e in expected)


def test_a_segment_that_leaves_takes_its_labels_with_it() -> None:
    detect = Detect(DetectParams(), (), SIGNALS, BASE_MS, max_segments=2)
    rng = np.random.default_rng(12)
    play(detect, windows(rng, TOPICS, 60, segment=EU))
    for k in range(3):
        other = SegmentKey(("region",), (f"r{k}",))
        play(detect, windows(rng, {"a": 0.5, "b": 0.5}, 60, start=100 * (k + 1), segment=other))
        assert detect.effects.effect(EU, "topic_mix") is None or k == 0
    assert detect.to_state()["mixes"]["counts"]["directory"]["size"] <= 6


def test_huge_counts_and_strange_labels_neither_raise_nor_blind_it() -> None:
    detect, rng = new(), np.random.default_rng(13)
    play(detect, windows(rng, TOPICS, 300))
    strange = mixed(
        START_MS + 300 * BASE_MS, {FLEET: {"topic": {"": 2**53, "=": 1, OVERFLOW_VALUE: 3, "\ud800": 1}}}
    )
    play(detect, [strange])
    detect.apply([Verdict("relearn", FLEET, "topic_mix")])
    play(detect, windows(rng, TOPICS, 300, start=301))
    assert affordable(play(detect, windows(rng, with_new(0.5), 5, start=601)))


@pytest.mark.parametrize(("usual", "incident", "panes"), [(0.001, 0.015, 30), (0.2, 0.05, 10)])
def test_a_frozen_share_is_back_when_the_likelihood_says_so_and_not_before(
    usual: float, incident: float, panes: int
) -> None:
    def locales(count: int, start: int, missing: float) -> Iterator[WindowBlock]:
        shares = {"locale=en": 0.8 - missing, "locale=de": 0.2, "locale=": missing}
        return windows(rng, shares, count, start, category="attributes")

    detect, rng = new(), np.random.default_rng(2)
    play(detect, locales(400, 0, usual))
    during = play(detect, locales(400, 400, incident), freeze=True)
    assert during
    assert all(e.firing for e in during), "it lasts"
    stored, detect = detect.to_state(), new()
    del stored["mixes"]["pairs"]["arrays"]["log_odds"]  # as states before had it
    assert detect.from_state(stored) == []
    after = play(detect, locales(60, 800, usual), freeze=True)
    back = [e for e in after if not e.firing]
    assert len(back) == 1
    assert back[0].statistic >= 10.0
    assert back[0].window_end_ms <= START_MS + (800 + panes) * BASE_MS


def test_the_largest_movers_and_how_much_of_the_mix_moved_are_told() -> None:
    detect, rng = new(), np.random.default_rng(6)
    many = {f"rare {k}": 0.01 for k in range(20)}
    before = {"billing": 0.4, "returns": 0.3, "travel": 0.1} | many
    after = {"billing": 0.2, "returns": 0.3, "travel": 0.25, "scams": 0.05} | many
    play(detect, windows(rng, before, 400, n=80))
    told = play(detect, windows(rng, after, 30, start=400, n=80))[-1]
    assert told.movers[0].label == told.label
    assert {m.label for m in told.movers} == {"billing", "travel", "scams"}
    assert told.moved_share == pytest.approx(0.2, abs=0.04), "what is rare and did not move adds nothing"
    for mover in told.movers:
        assert mover.observed == pytest.approx(after[mover.label], abs=0.04)
        assert mover.expected == pytest.approx(before.get(mover.label, 0.0), abs=0.03)


def test_attributes_move_beside_the_values_of_the_same_attribute_only() -> None:
    detect, rng = new(), np.random.default_rng(7)

    def both(count: int, start: int, free: float, en: float) -> Iterator[WindowBlock]:
        tiers, locales = {"tier=free": free, "tier=paid": 1 - free}, {"lang=en": en, "lang=de": 1 - en}
        for k in range(start, start + count):
            yield mixed(
                START_MS + k * BASE_MS, {FLEET: {"attributes": draw(rng, tiers) | draw(rng, locales)}}
            )

    play(detect, both(300, 0, 0.7, 0.6))
    told = play(detect, both(20, 300, 0.2, 0.8))[-1]
    assert [m.label for m in told.movers] == ["tier=paid", "tier=free"]
    assert told.moved_share == pytest.approx(0.5, abs=0.06)


def explained(detect: Detect, signal: str, minutes: float) -> list[Explanation]:
    now_ms = START_MS + round(minutes * 60_000)
    return detect.explainer(now_ms).explain([FLEET], [signal], 5 / len(SIGNALS), now_ms)


def test_the_smallest_change_of_a_share_is_told_and_twice_that_is_found() -> None:
    detect, rng = new(), np.random.default_rng(9)
    play(detect, windows(rng, TOPICS, 600))
    labels = explained(detect, "topic_mix", 100)
    assert [one.label for one in labels] == list(TOPICS), "the heaviest first"
    for one in labels:
        assert one.expected == pytest.approx(TOPICS[one.label or ""], abs=0.02)
        assert one.observations_per_hour == pytest.approx(N * 360, rel=0.01)
        assert one.rise_hour is not None
        assert one.rise_day is not None
        assert 0.0 < one.rise_day <= one.rise_hour < 0.05
    legal = labels[-1].rise_hour or 0.0
    shares = TOPICS | {"legal": TOPICS["legal"] + 2.0 * legal, "billing": TOPICS["billing"] - 2.0 * legal}
    assert affordable(play(detect, windows(rng, shares, 360, start=600)))


def test_a_mix_that_was_never_judged_has_nothing_to_tell() -> None:
    detect, rng = new(), np.random.default_rng(10)
    assert explained(detect, "topic_mix", 0) == []
    play(detect, windows(rng, {"only": 1.0}, 60))
    assert explained(detect, "topic_mix", 10) == []


def watching(*names: str) -> Detect:
    params = DetectParams.model_validate({"mixes": {"pane_secs": BASE_MS // 1000}})
    numeric = {name: signal for name, signal in SIGNALS.items() if signal.kind != "mix"}
    return Detect(params, (), numeric | {name: SIGNALS[name] for name in names}, BASE_MS)


def test_a_mix_keeps_what_was_learnt_of_it_when_others_come_and_go() -> None:
    """``tool_mix`` is gone, ``finish_reason_mix`` is new, and ``topic_mix`` has another place."""
    rng = np.random.default_rng(16)

    def both(number: int, other: str, topics: dict[str, float]) -> WindowBlock:
        half = {"a": 0.5, "b": 0.5}
        seen = {segment: {other: draw(rng, half), "topic": draw(rng, topics)} for segment in (FLEET, EU)}
        return mixed(START_MS + number * BASE_MS, seen)

    stored = watching("topic_mix", "tool_mix")
    play(stored, [both(k, "tool", TOPICS if k < 190 else with_new(0.4)) for k in range(200)], freeze=True)
    state = msgspec.msgpack.encode(stored.to_state())
    one, other = watching("topic_mix", "tool_mix"), watching("finish_reason_mix", "topic_mix")
    for detect in (one, other):
        assert detect.from_state(msgspec.msgpack.decode(state)) == []
    assert one.to_state()["mixes"] == stored.to_state()["mixes"]
    topics = [with_new(0.4)] * 40 + [TOPICS] * 60 + [with_new(0.2, "hoaxes")] * 60
    later = [both(k, "topic", shares) for k, shares in enumerate(topics, 200)]
    expected, found = (play(detect, later, freeze=True) for detect in (one, other))
    assert {e.firing for e in expected} == {True, False}
    assert {e.signal for e in expected} == {"topic_mix"}
    assert found == expected
    began = [both(k, "finish_reason", TOPICS) for k in range(360, 370)]
    play(other, began)
    again = watching("finish_reason_mix", "topic_mix")
    assert again.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(other.to_state()))) == []
    assert again.to_state() == other.to_state()


def test_what_grows_shows_as_large_as_it_was_lately() -> None:
    detect, rng = new(), np.random.default_rng(11)
    play(detect, windows(rng, TOPICS, 300))
    play(
        detect,
        (w for k in range(96) for w in windows(rng, with_new(0.2 * k / 96), 1, start=300 + k)),
        freeze=True,
    )
    whole = detect.effects.effect(FLEET, "topic_mix")
    late = detect.effects.since(FLEET, "topic_mix", START_MS + (396 - 24) * BASE_MS)
    assert whole is not None
    assert late is not None
    assert (whole.label, late.label) == ("scams", "scams")
    assert whole.observed == pytest.approx(0.1, abs=0.03)
    assert late.observed == pytest.approx(0.175, abs=0.03)
    assert detect.effects.since(EU, "topic_mix", START_MS) is None
