"""Configuration: every problem at once, each with file, path, got, expected and the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.config import Config, ConfigError, load_config, parse_config


def test_the_defaults_are_a_valid_configuration() -> None:
    config = Config()
    assert config.base_window_ms == 10_000
    assert config.allowed_lateness_ms == 15_000
    assert [rule.name for rule in config.rules]


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tidewatch.toml"
    path.write_text(
        'fleet = "Not A Name"\n'
        "[windows]\nbase_secs = 0\nbase_seconds = 10\n"
        '[segments]\nby = [["colour"]]\n'
        '[kafka]\nbootstrap = "broker.example.org:9092"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    places = {problem.path for problem in caught.value.problems}
    assert places == {"fleet", "windows.base_secs", "windows.base_seconds", "segments.by", "kafka"}
    for problem in caught.value.problems:
        assert problem.file == str(path)
        assert problem.got
        assert problem.expected
        assert problem.next_step


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fleet = ", "valid TOML"),
        ("[clickhouse]\npassword = 'x'", "a known setting"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_config(tmp_path / "absent.toml")


def test_secrets_are_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"clickhouse": {"password": "hunter2"}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9092", "localhost:9092", "[::1]:9092", "127.0.0.1:1,localhost:2"]
)
def test_loopback_needs_no_encryption(host: str) -> None:
    assert parse_config({"kafka": {"bootstrap": host}}).kafka.bootstrap == host


def test_plain_text_off_loopback_needs_a_flag() -> None:
    with pytest.raises(ConfigError, match="unencrypted"):
        parse_config({"kafka": {"bootstrap": "127.0.0.1:9092,kafka:9092"}})
    assert parse_config({"kafka": {"bootstrap": "kafka:9092", "allow_plaintext": True}})


def test_rules_must_name_signals_and_differ() -> None:
    with pytest.raises(ConfigError, match="unknown signal 'speed'"):
        parse_config({"rules": [{"name": "a", "signal": "speed", "warning": 1.0}]})
    rule = {"name": "a", "signal": "error_ratio", "warning": 0.1}
    with pytest.raises(ConfigError, match="two rules"):
        parse_config({"rules": [rule, rule]})
