"""Dead letters: deterministic, and without anything of a person or a prompt in them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.records import stable_id
from streams.deadletters import (
    DeadLetter,
    RateCap,
    capped_letter,
    dead_letter,
    decode_dead_letter,
    encode_dead_letter,
)
from streams.decode import BadRecord
from streams.redact import redact_head, redact_text
from tests.strategies import encoded, interactions

BAD = BadRecord("wrong_type", "$.tokens_in", "Expected `int`, got `str`")


def record(value: bytes | None, offset: int = 7) -> Any:
    return SimpleNamespace(topic="llm.interactions", partition=3, offset=offset, value=value)


def letter(value: bytes) -> DeadLetter:
    return dead_letter(record(value), BAD, "interaction")


def test_a_letter_says_why_and_where() -> None:
    made = letter(b'{"event_id":"e1","tokens_in":"x"}')
    assert made.dead_letter_id == stable_id("llm.interactions", 3, 7)
    assert (made.reason, made.path, made.detail) == ("wrong_type", "$.tokens_in", BAD.detail)
    assert (made.source_topic, made.source_partition, made.source_offset) == ("llm.interactions", 3, 7)
    assert made.sha256 == hashlib.sha256(b'{"event_id":"e1","tokens_in":"x"}').hexdigest()
    assert (made.size_bytes, made.count) == (33, 1)
    assert made.head == '{"event_id":"e1","tokens_in":"x"}'


def test_a_capped_letter_stands_for_a_range() -> None:
    made = capped_letter(record(b"x", 10), 99, Counter(not_json=40, wrong_type=20), "feedback")
    assert (made.reason, made.source_offset, made.source_offset_last, made.count) == (
        "rate_capped",
        10,
        99,
        60,
    )
    assert made.detail == "60 bad records in this range of offsets: not_json 40, wrong_type 20"
    assert made.dead_letter_id != dead_letter(record(b"x", 10), BAD, "feedback").dead_letter_id
    assert made.head == ""


@given(st.binary(max_size=1_500))
def test_any_bytes_make_a_printable_letter_that_survives_the_wire(value: bytes) -> None:
    made = letter(value)
    assert made == letter(value)
    assert decode_dead_letter(encode_dead_letter(made)) == made
    assert made.head.isprintable() or made.head == ""


@pytest.mark.parametrize(
    "text",
    [
        "write to anna.b+c@example.co.uk",
        "call +49 (030) 123-45678",
        "call 0171 2345678",
        "card 4111 1111 1111 1111",
        "card 4111111111111111.",
        "IBAN DE89 3704 0044 0532 0130 00",
        "Authorization: Bearer abc.def-ghi",
        "key sk-proj-abcdefghijklmnop",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    ],
)
def test_personal_data_and_secrets_are_masked_in_texts(text: str) -> None:
    redacted = redact_text(text)
    for part in (
        "anna",
        "example.co",
        "123-45678",
        "2345678",
        "1111",
        "0532",
        "def",
        "abcdefgh",
        "IOSFO",
        "eyJz",
    ):
        assert part not in redacted
    assert "<" in redacted


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-21T14:13:20.123Z",
        "5b8efff798038103d269b633813fc60c",
        "123e4567-e89b-12d3-a456-426614174000",
        "gpt-4o-2024-08-06",
        "12.5 ms",
    ],
)
def test_ids_times_and_models_stay_readable(text: str) -> None:
    assert redact_text(text) == text


def test_times_stay_and_card_numbers_go_in_numbers() -> None:
    head = redact_head('{"occurred_at":1790000000123,"account":4111111111111111,"tokens_in":-4}')
    assert head == '{"occurred_at":1790000000123,"account":<number>,"tokens_in":-4}'


TEXT = "Meine Tochter hat Fieber"


@pytest.mark.parametrize(
    "value",
    [
        encoded({"input": TEXT}),
        encoded({"output": "Fieber"}),
        encoded({"gen_ai.input.messages": [{"role": "user", "parts": [{"content": "Fieber"}]}]}),
        encoded({"gen_ai.prompt.0.content": "Fieber"}),
        encoded({"messages": ["Tochter", "Fieber"]}),
        encoded({"whatever": TEXT}),
        encoded({"whatever": TEXT})[:-8],
        encoded({TEXT: 1}),
        encoded({"input": 'she said "Fieber" and "Tochter"'}),
        encoded({"input": "Meine Tochter hat,", "messages": ["Fieber,", "Tochter"], "output": ", Fieber"}),
        encoded({"input": '{"a": "Fieber", "b": "Tochter"}', "output": '", "Fieber", "'}),
        b'{"input": "Tochter, ", "messages": ["Fieber, ", "Fieber"], "output": "Fieber"}',
        b'{"input":"eine "Tochter","and,"Fieber","x":"y"}',
        encoded({"input": {"Tochter hat": "Fieber"}}).replace(b"Tochter hat", b"question"),
        TEXT.encode(),
        b"{'input': 'Fieber'}",
        b'"Tochter',
        b"<p>Fieber</p>",
        "Meine Tochter: Fieber".encode("utf-16"),
        encoded({"user_id": "Tochter", "user.id": "Fieber", "password": "Fieber1"}),
    ],
)
def test_no_prompt_or_answer_survives(value: bytes) -> None:
    head = letter(value).head
    assert "Tochter" not in head
    assert "Fieber" not in head
    assert "Tochter" not in head.replace("\x00", "")


@given(interactions())
def test_texts_of_any_good_record_are_gone(fields: dict[str, Any]) -> None:
    marked = {**fields, "input": "QQPROMPTQQ", "output": "QQANSWERQQ", "user_id": "QQUSERQQ"}
    marked["tool_calls"] = [{"name": "f", "arguments": "QQARGSQQ", "result": "QQRESULTQQ"}]
    assert "QQ" not in letter(encoded(marked)).head


def test_control_characters_cannot_reach_a_terminal() -> None:
    assert "\x1b" not in letter(b'{"event_id":"\x1b[2J"}').head
    assert "\u202e" not in letter('{"event_id":"\u202eabc"}'.encode()).head


@given(st.lists(st.text('a", :\\[]{}', max_size=12), min_size=1, max_size=6), st.booleans())
def test_punctuation_does_not_let_texts_out(texts: list[str], spaced: bool) -> None:
    marked = {"event_id": "e1", "input": [f"{text}QQ{text}" for text in texts], "status": "ok"}
    value = json.dumps(marked, separators=(", ", ": ") if spaced else (",", ":"))
    head = redact_head(value)
    assert "QQ" not in head
    assert head.startswith(value[: value.index("[")])


def test_nothing_is_shown_behind_a_string_without_an_end() -> None:
    assert redact_head('{"a":1,"b":"c,"d":"e"}') == '{"a":1,"b":"<1+ chars><8 chars>'
    assert redact_head('{"tokens_in": 12, "outcome": "succ') == '{"tokens_in": 12, "outcome": "<4+ chars>'


def test_of_a_thousand_values_the_first_are_shown() -> None:
    head = redact_head("[" + "1," * 500)
    assert head.startswith("[1,1,1,")
    assert head.endswith(" chars>")
    assert len(head) < 200


def test_records_that_came_before_change_nothing() -> None:
    heads = ['{"b":"x y","phone":"12"}', '{"input":["b":"x y"]}', '{"b":["x y","z"],"cost":4111111111111111}']
    first = [redact_head(head) for head in heads]
    assert (
        [redact_head(head) for head in heads]
        == first
        == [
            '{"b":"x y","phone":"<2 chars>"}',
            '{"input":["b":"x y"]}',
            '{"b":["x y","z"],"cost":<number>}',
        ]
    )


@pytest.mark.parametrize("chunk_records", [1, 7, 500, 2_500])
def test_the_same_records_have_letters_of_their_own_however_the_log_is_cut(chunk_records: int) -> None:
    log = [record(b"x", 400 + n) for n in range(2_500)]
    bad = [n for n in range(2_500) if n % 9 == 0]
    cap = RateCap("interaction", 5)
    letters: list[DeadLetter] = []
    for lo in range(0, len(log), chunk_records):
        here = [(n - lo, BAD) for n in bad if lo <= n < lo + chunk_records]
        letters += cap.letters(log[lo : lo + chunk_records], here)
    own = [made.source_offset for made in letters if made.reason == BAD.reason]
    thousands = {thousand: [400 + n for n in bad if (400 + n) // 1000 == thousand] for thousand in range(3)}
    assert own == [offset for offsets in thousands.values() for offset in offsets[:5]]
    assert sum(made.count for made in letters) == len(bad)
    assert cap.unlettered == len(bad) - len(own)
    covered = [n for made in letters for n in range(made.source_offset, made.source_offset_last + 1)]
    assert {400 + n for n in bad} <= set(covered)
    assert len(covered) == len(set(covered)), "no record belongs to two letters"
