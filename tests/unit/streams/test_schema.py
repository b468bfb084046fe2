"""The published schemas: fresh, valid, and in agreement with the decoder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from streams.commands.schema import command
from streams.deadletters import dead_letter, encode_dead_letter
from streams.decode import BadRecord, decode_change, decode_feedback, decode_interaction
from streams.events import STREAMS
from streams.messages import LocalRecord
from streams.schemas import NAMES, encoded_schema, json_schema, reference
from tests.strategies import NOW_MS, changes, encoded, feedbacks, interactions

DOCS = Path(__file__).parents[3] / "docs"
RECORDS = {"interaction": interactions(), "feedback": feedbacks(), "change": changes()}
DECODERS = {"interaction": decode_interaction, "feedback": decode_feedback, "change": decode_change}
VALIDATORS = {name: jsonschema.Draft202012Validator(json_schema(name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_published_schemas_are_fresh(name: str) -> None:
    published = (DOCS / "schemas" / f"{name}.json").read_bytes()
    assert published == encoded_schema(name), "run: tidewatch schema --output docs/schemas"


def test_the_reference_is_fresh() -> None:
    published = (DOCS / "schemas.md").read_text(encoding="utf-8")
    assert published == reference(), "run: tidewatch schema --markdown > docs/schemas.md"


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(name))


@given(st.sampled_from(STREAMS).flatmap(lambda name: st.tuples(st.just(name), RECORDS[name])))
def test_good_records_are_valid(record: tuple[str, dict[str, Any]]) -> None:
    name, fields = record
    VALIDATORS[name].validate(fields)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("interaction", {"tokens_in": -1}),
        ("interaction", {"tokens_in": "1"}),
        ("interaction", {"event_id": ""}),
        ("interaction", {"schema_version": 2}),
        ("interaction", {"attributes": {"a": []}}),
        ("feedback", {"score": 2}),
        ("change", {"kind": "reorg"}),
    ],
)
def test_what_the_schema_refuses_the_decoder_refuses(name: str, change: dict[str, Any]) -> None:
    fields = EXAMPLES[name] | change
    with pytest.raises(jsonschema.ValidationError):
        VALIDATORS[name].validate(fields)
    with pytest.raises(BadRecord):
        DECODERS[name](encoded(fields), now_ms=NOW_MS + 60_000)


EXAMPLES: dict[str, dict[str, Any]] = dict(
    zip(STREAMS, map(json.loads, re.findall(r"```json\n(.*?)```", reference(), re.DOTALL)), strict=True)
)


@pytest.mark.parametrize("name", STREAMS)
def test_the_examples_of_the_reference_are_good(name: str) -> None:
    VALIDATORS[name].validate(EXAMPLES[name])
    DECODERS[name](encoded(EXAMPLES[name]), now_ms=NOW_MS + 60_000)


def test_dead_letters_are_valid() -> None:
    letter = dead_letter(LocalRecord("t", 0, 0, b"x"), BadRecord("not_json", "$", "malformed"), "interaction")
    VALIDATORS["deadletter"].validate(json.loads(encode_dead_letter(letter)))


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    one = CliRunner().invoke(command, ["feedback"])
    assert json.loads(one.stdout)["title"] == "Feedback"
    written = CliRunner().invoke(command, ["--output", str(tmp_path / "new")])
    assert written.exit_code == 0
    assert sorted(path.stem for path in (tmp_path / "new").iterdir()) == sorted(NAMES)
    assert CliRunner().invoke(command, ["--markdown"]).stdout == reference()


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(command, ["--output", str(tmp_path / "file" / "inside")])
    assert result.exit_code == 1
    assert "give a folder" in result.stderr
