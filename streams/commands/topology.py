"""`tidewatch topology`: what flows where, from the tables in the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from streams.commands.common import config_option, load_or_exit
from streams.topics import ALERTS, ANOMALIES, DEADLETTERS, INCIDENTS, INPUTS, PARTIALS, RECORDED, SUMMARIES

STAGES: tuple[dict[str, Any], ...] = (
    {
        "stage": "AGGREGATE",
        "worker": "detect",
        "reads": list(INPUTS),
        "writes": [PARTIALS, DEADLETTERS],
        "does": "decode, check, redact; sketches per window and segment, sealed by event time",
    },
    {
        "stage": "DECIDE",
        "worker": "detect",
        "reads": [PARTIALS],
        "writes": [SUMMARIES, ANOMALIES, INCIDENTS, ALERTS],
        "does": "close windows over all sources, detect, triage; one checkpoint",
    },
    {
        "stage": "RECORD",
        "worker": "record",
        "reads": list(RECORDED),
        "writes": ["ClickHouse"],
        "does": "rows into ClickHouse; an outage there is lag here",
    },
)


@click.command("topology")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
def command(as_json: bool, config_path: Path | None) -> None:
    """Print topics, stages and segmentations as configured.

    \b
    Examples:
      tidewatch topology
      tidewatch topology --json | jq '.topics[].name'
    """
    config = load_or_exit(config_path)
    from streams.app import group_name
    from streams.topics import TOPICS, partitions_of, settings_of

    topics = [
        {
            "name": topic.name,
            "partitions": partitions_of(topic, config),
            "key": topic.key,
            "carries": topic.carries,
            "schema": topic.schema,
            "settings": settings_of(topic, config),
        }
        for topic in TOPICS.values()
    ]
    stages = [stage | {"group": group_name(config, stage["worker"])} for stage in STAGES]
    segmentations = ["all", *("+".join(by) for by in config.segments.by)]
    if as_json:
        tree = {"fleet": config.fleet, "topics": topics, "stages": stages, "segmentations": segmentations}
        click.echo(orjson.dumps(tree, option=orjson.OPT_INDENT_2))
        return
    click.echo("Topics")
    for shown in topics:
        click.echo(f"  {shown['name']:<21} {shown['partitions']:>3}  {shown['carries']}")
    click.echo("\nStages")
    for stage in stages:
        click.echo(f"  {stage['stage']:<10} {stage['does']}")
        click.echo(f"  {'':<10} {', '.join(stage['reads'])}\n  {'':<10}   -> {', '.join(stage['writes'])}")
    click.echo("\nSegmentations")
    click.echo("  " + ", ".join(segmentations))
