"""What `tidewatch check --connect` asks of the brokers, the topics and ClickHouse."""

from __future__ import annotations

from typing import Literal, NamedTuple

from sinks.clickhouse import ClickHouseSink
from streams.client import BrokerUnreachable, open_admin
from streams.config import Config
from streams.topic_admin import inspect_topics

Status = Literal["ok", "warning", "failed"]


class Check(NamedTuple):
    """One question and its answer."""

    what: str
    status: Status
    detail: str


async def check_kafka(config: Config) -> list[Check]:
    """Are the brokers there, and are the topics as configured?"""
    try:
        admin = await open_admin(config.kafka, timeout_secs=5.0)
    except BrokerUnreachable as error:
        return [Check("kafka", "failed", str(error))]
    try:
        reports = await inspect_topics(admin, config)
    finally:
        await admin.close()
    checks = [Check("kafka", "ok", f"reached {config.kafka.bootstrap}")]
    for report in reports:
        if report.status == "missing":
            checks.append(Check(report.name, "failed", "missing; run `tidewatch topics create`"))
        elif report.differences:
            checks.append(Check(report.name, "warning", "; ".join(report.differences)))
        else:
            checks.append(Check(report.name, "ok", "as configured"))
    return checks


async def check_clickhouse(config: Config) -> list[Check]:
    """Does the store answer? The embedded one is opened, so a running record worker is named as its owner."""
    sink = ClickHouseSink(config.clickhouse, config.state_dir)
    try:
        await sink.healthcheck()
    except Exception as error:  # a check reports whatever the store says
        address, reason = config.clickhouse.address, str(error)
        return [Check("clickhouse", "failed", reason if address in reason else f"{address}: {reason}")]
    finally:
        await sink.close()
    return [Check("clickhouse", "ok", f"reached {config.clickhouse.address}")]
