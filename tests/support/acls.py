"""The Kafka ACLs of each role, from the table of topics: a script and a table for the docs.

Write and Read on a resource imply Describe; creating, altering and deleting are for the admin alone. Both workers
send alerts about themselves, and read at their start which of those are still firing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.topics import (
    ALERTS,
    ANOMALIES,
    DEADLETTERS,
    INCIDENTS,
    INPUTS,
    PARTIALS,
    RECORDED,
    STATE,
    SUMMARIES,
    TOPICS,
)

GROUP: Final = "$GROUP_PREFIX-$FLEET-{role}"
TRANSACTION: Final = "$GROUP_PREFIX-$FLEET-state"


@dataclass(frozen=True)
class Grant:
    """One kafka-acls.sh command: operations on resources."""

    operations: tuple[str, ...]
    topics: tuple[str, ...] = ()
    group: str | None = None
    transactional_id: str | None = None


@dataclass(frozen=True)
class Role:
    """Who connects, and what that needs."""

    name: str
    who: str
    grants: tuple[Grant, ...]

    def topics_for(self, operation: str) -> set[str]:
        return {topic for grant in self.grants if operation in grant.operations for topic in grant.topics}


ROLES: Final = (
    Role(
        "admin",
        "`tidewatch topics create`",
        (Grant(("Create", "Describe", "DescribeConfigs"), tuple(TOPICS)),),
    ),
    Role("producer", "services that report", (Grant(("Write",), INPUTS),)),
    Role(
        "detect",
        "`tidewatch worker detect`",
        (
            Grant(("Read",), (*INPUTS, PARTIALS, STATE, ALERTS), group=GROUP.format(role="detect")),
            Grant(
                ("Write",),
                (PARTIALS, SUMMARIES, ANOMALIES, INCIDENTS, ALERTS, DEADLETTERS, STATE),
                transactional_id=TRANSACTION,
            ),
        ),
    ),
    Role(
        "record",
        "`tidewatch worker record`",
        (
            Grant(("Read",), RECORDED, group=GROUP.format(role="record")),
            Grant(("Write",), (DEADLETTERS, ALERTS)),
        ),
    ),
    Role("on-call", "who reads alerts", (Grant(("Read",), (ALERTS,), group="$ON_CALL_GROUP"),)),
)


def variable(role: Role) -> str:
    """The script's variable for the role's principal."""
    return role.name.upper().replace("-", "_")


def script() -> str:
    """deploy/kafka-acls.sh."""
    lines = [
        "#!/usr/bin/env bash",
        "# Kafka ACLs: what each role needs, and nothing else. Made by `make docs` from the table of topics.",
        "#",
        "#   BOOTSTRAP=broker:9093 COMMAND_CONFIG=admin.properties deploy/kafka-acls.sh",
        "#",
        "# KAFKA_ACLS is Kafka's own kafka-acls.sh. Run it again for another FLEET or GROUP_PREFIX.",
        "set -euo pipefail",
        ': "${BOOTSTRAP:?set BOOTSTRAP to host:port of a broker}"',
        "KAFKA_ACLS=${KAFKA_ACLS:-kafka-acls.sh}",
        "FLEET=${FLEET:-default}",
        "GROUP_PREFIX=${GROUP_PREFIX:-tidewatch}",
        "ON_CALL_GROUP=${ON_CALL_GROUP:-on-call}",
        *(f"{variable(role)}=${{{variable(role)}:-User:tidewatch-{role.name}}}" for role in ROLES),
        "",
        "allow() {",
        '  "$KAFKA_ACLS" --bootstrap-server "$BOOTSTRAP" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} \\',
        '    --add --allow-principal "$@" >/dev/null',
        "}",
    ]
    for role in ROLES:
        lines += ["", f"# {role.name}: {role.who.replace('`', '')}"]
        lines += [f'allow "${variable(role)}" {_arguments(grant)}' for grant in role.grants]
    return "\n".join(lines) + "\n"


def _arguments(grant: Grant) -> str:
    parts = [f"--operation {operation}" for operation in grant.operations]
    parts += [f"\\\n  --topic {topic}" for topic in grant.topics]
    if grant.group:
        parts.append(f'\\\n  --group "{grant.group}"')
    if grant.transactional_id:
        parts.append(f'\\\n  --transactional-id "{grant.transactional_id}"')
    return " ".join(parts)


def table() -> Iterator[str]:
    """The same for docs/security.md."""
    yield "| role | is | operations | on |"
    yield "|---|---|---|---|"
    for role in ROLES:
        for grant in role.grants:
            places = [f"`{topic}`" for topic in grant.topics]
            if grant.group:
                places.append(f"group `{_named(grant.group)}`")
            if grant.transactional_id:
                places.append(f"transactional id `{_named(grant.transactional_id)}`")
            yield f"| {role.name} | {role.who} | {', '.join(grant.operations)} | {', '.join(places)} |"


def _named(text: str) -> str:
    return (
        text.replace("$GROUP_PREFIX", "tidewatch")
        .replace("$FLEET", "default")
        .replace("$ON_CALL_GROUP", "on-call")
    )
