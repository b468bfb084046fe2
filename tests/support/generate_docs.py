"""The generated parts of the docs: signal table, configuration reference, topics, command line.

``python -m tests.support.generate_docs`` rewrites them; ``--check`` fails when one is stale. A generated part
stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from detectors.incidents import advice, changes, classification, severity, verdicts
from streams.cli import main as cli
from streams.config import Config
from streams.operate import metrics, monitoring
from streams.signals import SIGNALS
from streams.topics import TOPICS, partitions_of
from tests.support import acls, backtest, limits

ROOT: Final = Path(__file__).resolve().parents[2]
FILES: Final = (
    "README.md",
    "docs/configuration.md",
    "docs/detection.md",
    "docs/incidents.md",
    "docs/operations.md",
    "docs/reliability.md",
    "docs/security.md",
)
WHOLE: Final[dict[str, Callable[[], str]]] = {"deploy/kafka-acls.sh": acls.script}
_CAPTURE: Final = re.compile(r"(<!-- capture -->\n).*?(<!-- end -->)", re.DOTALL)
_PART: Final = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def signals() -> Iterator[str]:
    yield "| signal | unit | kind | worse when | read from |"
    yield "|---|---|---|---|---|"
    for signal in SIGNALS.values():
        worse = {"up": "higher", "down": "lower", "both": "either", "none": "only measured"}[signal.worse]
        yield f"| `{signal.name}` | {signal.unit} | {signal.kind} | {worse} | {signal.source} |"


def topics() -> Iterator[str]:
    config = Config()
    yield "| topic | carries | key | partitions | kept | schema |"
    yield "|---|---|---|---|---|---|"
    for topic in TOPICS.values():
        kept = "compacted" if topic.cleanup == "compact" else f"{config.topics.retention_hours} h"
        yield (
            f"| `{topic.name}` | {topic.carries} | {topic.key} | {partitions_of(topic, config)} | {kept} "
            f"| {topic.schema} |"
        )


def configuration() -> Iterator[str]:
    yield from _section("", Config)


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    nested: list[tuple[str, type[BaseModel]]] = []
    rows: list[str] = []
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            nested.append((f"{path}.{name}" if path else name, inner))
        if inner is None or get_origin(field.annotation) is tuple:
            rows.append(_row(name, field))
    title = f"`[{path}]`" if path else "Top level"
    yield f"### {title}"
    yield ""
    yield (model.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    yield ""
    if rows:
        yield "| setting | type | default | meaning |"
        yield "|---|---|---|---|"
        yield from rows
        yield ""
    for inner_path, inner in nested:
        yield from _section(inner_path, inner)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is tuple:
        return _model_in(get_args(annotation)[0])
    return None


def _row(name: str, field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        shown = "required" if field.is_required() else "`{}`"
    elif isinstance(default, tuple) and default and isinstance(default[0], BaseModel):
        shown = "see docs/detection.md"
    else:
        shown = f"`{_toml(default)}`"
    return f"| `{name}` | {_type(field)} | {shown} | {(field.description or '').replace('|', '/')} |"


def _toml(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, (str, Path)):
        return f'"{value}"'
    return str(value)


def _type(field: FieldInfo) -> str:
    text = re.sub(r"\b(typing|pathlib|streams\.\w+|detectors\.[\w.]+)\.", "", str(field.annotation))
    text = re.sub(r"<class '([^']+)'>", r"\1", text).replace("pathlib._local.", "")
    text = re.sub(r"Literal\[(.*?)\]", lambda m: " or ".join(part.strip() for part in m[1].split(",")), text)
    return text.replace("|", "or")


def sections() -> Iterator[str]:
    yield "| section | what it sets |"
    yield "|---|---|"
    for name, field in Config.model_fields.items():
        if (model := _model_in(field.annotation)) is not None:
            what = (model.__doc__ or "").strip().split("\n")[0]
            yield f"| `[{name}]` | {what} |"


def commands() -> Iterator[str]:
    context = click.Context(cli, info_name="tidewatch")
    yield "```text"
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield from _usage(command, f"tidewatch {name}")
    yield "```"


def _usage(command: click.Command, path: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _usage(inner, f"{path} {name}")
        return
    pieces = command.collect_usage_pieces(click.Context(command, info_name=path))
    yield f"{path} {' '.join(pieces)}"
    yield f"    {command.get_short_help_str(100)}"


def faults() -> Iterator[str]:
    from tests.recovery.report import table

    return table()


PARTS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "signals": signals,
    "topics": topics,
    "configuration": configuration,
    "commands": commands,
    "sections": sections,
    "faults": faults,
    "backtest": backtest.table,
    "metrics": metrics.reference,
    "monitoring": monitoring.reference,
    "acls": acls.table,
    "limits": limits.table,
    "advice": advice.reference,
    "classification": classification.reference,
    "planned": changes.reference,
    "severity": severity.reference,
    "verdicts": verdicts.reference,
}


def rendered(text: str) -> str:
    """The text with its generated parts made anew."""
    text = _CAPTURE.sub(lambda m: m[1] + "```text\n" + capture() + "\n```\n" + m[2], text)
    return _PART.sub(lambda m: m[1] + "\n".join(PARTS[m[2]]()).rstrip() + "\n" + m[3], text)


def capture() -> str:
    """The recorded screen and summary of the demo."""
    return (ROOT / "docs" / "demo.txt").read_text("utf-8").rstrip()


def stale() -> list[str]:
    """Files whose generated parts are not what the code says."""
    return [name for name, text in _fresh().items() if text != (ROOT / name).read_text("utf-8")]


def _fresh() -> dict[str, str]:
    """Every file with a generated part as it should be."""
    parts = {name: rendered((ROOT / name).read_text("utf-8")) for name in FILES}
    return parts | {name: make() for name, make in WHOLE.items()}


def main() -> int:
    if "--check" in sys.argv[1:]:
        if names := stale():
            print(f"stale: {', '.join(names)}; run `make docs`", file=sys.stderr)
            return 1
        return 0
    write()
    return 0


def write() -> None:
    """Make every generated part anew."""
    for name, text in _fresh().items():
        (ROOT / name).write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
