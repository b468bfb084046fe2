"""The whole configuration tree: what a user may set, its unit, bounds and default, and how it is loaded.

Each component's parameters sit beside the component; this module composes them, reads ``tidewatch.toml`` and
reports every problem at once.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from detectors.incidents.triage import TriageParams
from detectors.monitor import DetectParams
from detectors.rules.absolute import Rule
from detectors.rules.defaults import DEFAULT_RULES
from sinks.clickhouse_config import ClickHouseConfig
from streams.kafka_config import KafkaConfig
from streams.operate.config import MonitoringConfig, OperateConfig, WatchdogConfig
from streams.signals import SIGNALS

DEFAULT_PATH = Path("tidewatch.toml")

INTERACTION_DIMENSIONS = (
    "environment",
    "feature",
    "model_requested",
    "operation",
    "priority",
    "prompt_name",
    "prompt_version",
    "provider",
    "region",
    "service",
    "tenant",
    "topic",
)
"""Fields of an interaction that may form a segment; ``model`` is short for ``model_requested``, and
``attributes.<name>`` takes a free dimension from the attributes."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TopicsConfig(_Section):
    """How topics are made; existing topics are never altered."""

    partitions: int = Field(
        12, ge=1, le=1000, description="Partitions of the interactions and feedback topics."
    )
    replication_factor: int = Field(1, ge=1, le=7, description="Replicas of each topic.")
    retention_hours: int = Field(168, ge=1, description="How long inputs and outputs stay on Kafka.")
    log_append_time: bool = Field(
        True, description="Input topics are stamped by the broker, which guards against fast producer clocks."
    )


class WindowConfig(_Section):
    """Event time: base windows, allowed lateness, idle sources."""

    base_secs: int = Field(10, ge=1, le=3600, description="Length of the base window.")
    allowed_lateness_secs: int = Field(
        15, ge=0, le=86_400, description="How long a window waits for records that come out of order."
    )
    idle_secs: int = Field(
        10, ge=1, le=3600, description="A source that is caught up and quiet this long stops holding others."
    )


class CheckpointConfig(_Section):
    """Where and how often DECIDE writes its checkpoint."""

    interval_secs: float = Field(60.0, ge=0.1, le=3600, description="Time between checkpoints.")
    store: Literal["sqlite", "topic"] = Field(
        "sqlite",
        description="sqlite: a file in state_dir (one host). topic: the compacted topic tidewatch.state.",
    )


AttributeName = Annotated[str, Field(min_length=1, max_length=64)]


class SegmentsConfig(_Section):
    """Which segments are watched, and the caps that keep their number bounded."""

    by: tuple[tuple[str, ...], ...] = Field(
        (
            ("provider",),
            ("provider", "model"),
            ("feature",),
            ("tenant",),
            ("topic",),
            ("region",),
            ("provider", "region"),
            ("model", "topic"),
            ("prompt_name", "prompt_version"),
            ("attributes.source",),
        ),
        description="Segmentations, each a list of dimensions; the whole fleet is always watched.",
    )
    watched_attributes: tuple[AttributeName, ...] = Field(
        ("doc_locale", "language", "customer_tier", "source", "safety_model_version"),
        max_length=16,
        description="Attributes of few values: attributes_mix counts each value, and where there is none. "
        "One that nobody sends costs next to nothing.",
    )
    max_per_segmentation: int = Field(
        1000, ge=1, le=100_000, description="Segments of one segmentation; more go to __other__."
    )
    max_total: int = Field(2000, ge=1, le=1_000_000, description="Segments in total; more go to __other__.")
    retire_after_days: float = Field(
        14.0, gt=0, le=3650, description="A segment without events this long gives its place back."
    )

    @field_validator("by")
    @classmethod
    def _known_dimensions(cls, by: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        known = {*INTERACTION_DIMENSIONS, "model"}
        for segmentation in by:
            if not segmentation or len(set(segmentation)) != len(segmentation):
                raise ValueError(f"segmentation {list(segmentation)}; name one or more different dimensions")
            for dimension in segmentation:
                if dimension not in known and not dimension.startswith("attributes."):
                    raise ValueError(
                        f"unknown dimension {dimension!r}; use attributes.<name> or one of "
                        + ", ".join(sorted(known))
                    )
        if len(set(by)) != len(by):
            raise ValueError("a segmentation that is listed twice; list it once")
        return by


class LimitsConfig(_Section):
    """Hard limits; nothing in Tidewatch grows without one."""

    dead_letters_per_1000: int = Field(
        20,
        ge=1,
        le=1000,
        description="Bad records of each 1,000 offsets with a dead letter of their own; the rest share letters.",
    )
    partial_bytes: int = Field(
        900_000,
        ge=10_000,
        le=16_000_000,
        description="Largest record of tidewatch.partials and tidewatch.summaries.",
    )
    open_windows: int = Field(
        8640, ge=10, description="Base windows open at once in one partition; the oldest is sealed beyond it."
    )
    windows_ahead: int = Field(
        360,
        ge=12,
        description="Base windows that a partition is read beyond the last closed one; then it waits for others.",
    )
    window_segments: int = Field(
        100_000, ge=100, description="Segments that AGGREGATE keeps for one segmentation and window."
    )


class RecordConfig(_Section):
    """What RECORD writes to ClickHouse."""

    store_text: bool = Field(False, description="Store prompt and answer text, redacted.")
    batch_rows: int = Field(20_000, ge=1, le=1_000_000, description="Rows written at once, at most.")
    batch_secs: float = Field(1.0, gt=0, le=60, description="A batch waits this long, at most.")


class UpConfig(_Section):
    """How `tidewatch up` runs."""

    broker_memory_mb: int = Field(
        1024,
        ge=64,
        description="Ceiling for the embedded broker, whose log is in memory; there it goes on with an empty log.",
    )


class Config(_Section):
    """The root of the configuration."""

    fleet: str = Field(
        "default", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="Name of the fleet: one DECIDE actor."
    )
    state_dir: Path = Field(Path(".tidewatch"), description="Folder for local state.")
    kafka: KafkaConfig = KafkaConfig()
    topics: TopicsConfig = TopicsConfig()
    windows: WindowConfig = WindowConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    segments: SegmentsConfig = SegmentsConfig()
    limits: LimitsConfig = LimitsConfig()
    record: RecordConfig = RecordConfig()
    detect: DetectParams = DetectParams()
    triage: TriageParams = TriageParams()
    rules: tuple[Rule, ...] = Field(
        DEFAULT_RULES, description="Absolute rules; setting any replaces the defaults."
    )
    clickhouse: ClickHouseConfig = ClickHouseConfig()
    up: UpConfig = UpConfig()
    operate: OperateConfig = OperateConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    monitoring: MonitoringConfig = MonitoringConfig()

    @field_validator("rules")
    @classmethod
    def _rules_make_sense(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules with the name {twice[0]!r}; rename one")
        for rule in rules:
            if rule.signal not in SIGNALS or SIGNALS[rule.signal].kind == "mix":
                raise ValueError(
                    f"unknown signal {rule.signal!r} in rule {rule.name!r}; take one of the README's that is no mix"
                )
        return rules

    @property
    def base_window_ms(self) -> int:
        return self.windows.base_secs * 1000

    @property
    def allowed_lateness_ms(self) -> int:
        return self.windows.allowed_lateness_secs * 1000


class Problem(BaseModel):
    """One thing wrong with a configuration."""

    file: str
    path: str
    got: str
    expected: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: got {self.got}; expected {self.expected}. {self.next_step}"


class ConfigError(Exception):
    """The configuration is not usable; ``problems`` has everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load_config(path: Path | None = None) -> Config:
    """Read ``path``, or ``tidewatch.toml`` in the current folder if it exists, or take the defaults.

    Raises:
        ConfigError: with every problem of the file.
    """
    if path is None:
        if not DEFAULT_PATH.exists():
            return Config()
        path = DEFAULT_PATH
    file = str(path)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = _problem(file, "(file)", str(error.strerror), "a readable TOML file", "Check --config.")
        raise ConfigError([problem]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = _problem(file, "(file)", str(error), "valid TOML in UTF-8", "Correct the syntax.")
        raise ConfigError([problem]) from None
    return parse_config(tree, file)


def parse_config(tree: dict[str, Any], file: str = "(configuration)") -> Config:
    """Validate a configuration tree.

    Raises:
        ConfigError: with every problem of the tree.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError([_from_pydantic(file, dict(item)) for item in error.errors()]) from None


def _from_pydantic(file: str, item: dict[str, Any]) -> Problem:
    where = ".".join(str(part) for part in item["loc"]) or "(root)"
    secret = any(word in where for word in ("pass", "secret", "key", "token", "credential"))
    got = "(hidden)" if secret or isinstance(item["input"], SecretStr) else _short(item["input"])
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return _problem(file, where, got, "a known setting", "Remove it, or look for a misspelling.")
    if item["type"] == "value_error":  # our own validators: "what is wrong; what to do"
        what, _, step = message.partition("; ")
        return _problem(file, where, what, "a valid combination", _sentence(step or "correct the value"))
    if item["type"] == "missing":
        return _problem(file, where, "nothing", "a value", "Add this setting.")
    return _problem(file, where, got, message[0].lower() + message[1:], "Correct the value.")


def _problem(file: str, path: str, got: str, expected: str, next_step: str) -> Problem:
    return Problem(file=file, path=path, got=got, expected=expected, next_step=next_step)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
