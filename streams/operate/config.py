"""Settings of health checks, of the watchdog and of alerts about Tidewatch itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OperateConfig(_Section):
    """Where each worker answers /livez, /readyz and /metrics."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; the default is this host only."
    )
    port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port to listen on; 0 takes a free one, which `tidewatch status` shows.",
    )


class WatchdogConfig(_Section):
    """When a worker that does nothing is not ready, and when it ends to be started again."""

    unready_secs: float = Field(
        6.0, ge=1, le=600, description="A partition with records that stands still this long: not ready."
    )
    stall_secs: float = Field(
        18.0,
        ge=2,
        le=3600,
        description="A partition with records that stands still this long: the worker ends.",
    )
    blocked_secs: float = Field(
        18.0, ge=2, le=3600, description="An event loop that does not turn this long: the worker ends."
    )
    restore_secs: float = Field(
        18.0,
        ge=2,
        le=3600,
        description="Loading a checkpoint without any progress this long: the worker ends.",
    )
    call_secs: float = Field(
        120.0,
        ge=10,
        le=3600,
        description="One call to the broker or the store that takes this long: the worker ends.",
    )


class MonitoringConfig(_Section):
    """Alerts about Tidewatch itself, on the topic of all alerts."""

    lag_secs: float = Field(120.0, ge=1, description="Records wait longer than this to be worked on.")
    held_up_secs: float = Field(
        300.0,
        ge=1,
        description="All windows wait for a partition whose event time is this far behind the others.",
    )
    dead_letter_ratio: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Share of input records with a dead letter, within for_secs; "
        "limits.dead_letters_per_1000 bounds it.",
    )
    silent_secs: float = Field(
        900.0, ge=1, description="No record arrives on a topic of silent_topics for this long."
    )
    silent_topics: tuple[str, ...] = Field(
        ("llm.interactions",), description="Input topics that never fall silent while all is well."
    )
    sink_secs: float = Field(60.0, ge=1, description="The store cannot be written to for this long.")
    restarts: int = Field(
        3,
        ge=2,
        le=100,
        description="Workers of this host that ended without being asked to, within restarts_secs.",
    )
    restarts_secs: float = Field(
        600.0, ge=10, le=86_400, description="The span that restarts are counted in."
    )
    for_secs: float = Field(
        60.0, ge=0, le=3600, description="A condition must hold (or have ended) this long before it is told."
    )
    clear_ratio: float = Field(
        0.5, gt=0, le=1, description="A condition has ended below this share of its threshold."
    )
    every_secs: float = Field(5.0, ge=0.2, le=60, description="Time between two looks.")
    repeat_secs: float = Field(
        600.0, ge=0, description="A condition fires again only this long after it fired before."
    )
