"""The ACLs cover what each worker reads and writes, and nobody but the detect worker may write results."""

from __future__ import annotations

from streams.agents import DetectWorker
from streams.recording import RecordWorker
from streams.topics import ALERTS, INPUTS, PARTIALS, STATE, TOPICS
from tests.support.acls import ROLES, script

BY_NAME = {role.name: role for role in ROLES}


def test_workers_may_use_the_topics_that_they_require() -> None:
    for worker in (DetectWorker, RecordWorker):
        role = BY_NAME[worker.role]
        assert set(worker.topics) <= role.topics_for("Read") | role.topics_for("Write")


def test_who_may_write_what() -> None:
    assert BY_NAME["producer"].topics_for("Write") == set(INPUTS)
    assert BY_NAME["producer"].topics_for("Read") == set()
    for topic in (STATE, PARTIALS):
        assert [role.name for role in ROLES if topic in role.topics_for("Write")] == ["detect"]
    assert BY_NAME["on-call"].topics_for("Read") == {ALERTS}
    assert [role.name for role in ROLES if role.topics_for("Create")] == ["admin"]
    assert BY_NAME["admin"].topics_for("Create") == set(TOPICS)


def test_the_script_grants_single_topics_only() -> None:
    assert "--topic '*'" not in script()
    assert "--operation All" not in script()
    assert "--cluster" not in script()
