"""The table of topics, and what a configuration makes of it."""

from __future__ import annotations

import pytest

from streams.commands.topology import STAGES
from streams.config import Config
from streams.messages import LocalRecord
from streams.pseudonyms import Pseudonyms
from streams.record import Recorder
from streams.stages import Aggregate
from streams.topics import INPUTS, PARTIALS, RECORDED, STATE, TOPICS, partitions_of, settings_of

CONFIG = Config.model_validate({"topics": {"partitions": 24, "retention_hours": 2}})


def test_inputs_are_what_aggregate_reads_and_have_the_configured_partitions() -> None:
    assert INPUTS == ("llm.interactions", "llm.feedback", "llm.changes")
    for topic in INPUTS:
        Aggregate(CONFIG, topic=topic, partition=0, attempt="a", sources_total=49)
    assert [partitions_of(TOPICS[name], CONFIG) for name in INPUTS] == [24, 24, 1]


def test_everything_that_decide_reads_or_writes_has_one_partition() -> None:
    others = [topic for topic in TOPICS.values() if not topic.input]
    assert {partitions_of(topic, CONFIG) for topic in others} == {1}


def test_recorded_topics_are_what_record_can_project() -> None:
    recorder = Recorder(fleet="default", pseudonyms=Pseudonyms(bytes(32)))
    for name in RECORDED:
        recorder.rows([LocalRecord(name, 0, 0, b"{}")], now_ms=0)
    with pytest.raises(ValueError, match="is not recorded"):
        recorder.rows([LocalRecord(PARTIALS, 0, 0, b"{}")], now_ms=0)


def test_only_the_state_is_compacted_and_only_inputs_are_stamped_by_the_broker() -> None:
    settings = {name: settings_of(topic, CONFIG) for name, topic in TOPICS.items()}
    assert [name for name, found in settings.items() if found["cleanup.policy"] == "compact"] == [STATE]
    stamped = [name for name, found in settings.items() if "message.timestamp.type" in found]
    assert tuple(stamped) == INPUTS
    assert settings["llm.alerts"]["retention.ms"] == "7200000"


def test_the_printed_stages_name_every_topic_but_the_state() -> None:
    named = {topic for stage in STAGES for topic in [*stage["reads"], *stage["writes"]]}
    assert named - {"ClickHouse"} == TOPICS.keys() - {STATE}
