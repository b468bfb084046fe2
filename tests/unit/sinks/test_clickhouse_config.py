"""Reaching ClickHouse by configuration only, without a secret in sight."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sinks.clickhouse_config import PASSWORD_VARIABLE, ClickHouseConfig


def test_the_default_is_the_embedded_engine_below_the_state_dir(tmp_path: Path) -> None:
    config = ClickHouseConfig().at(tmp_path)
    assert config.embedded
    assert config.path == tmp_path / "clickhouse"


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    assert ClickHouseConfig(path=tmp_path / "a").at(tmp_path / "b").path == tmp_path / "a"


def test_the_password_is_read_from_file_or_environment_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "from-environment")
    assert ClickHouseConfig().password().get_secret_value() == "from-environment"
    (tmp_path / "password").write_text("from-file\n")
    (tmp_path / "password").chmod(0o600)
    config = ClickHouseConfig(interface="http", password_file=tmp_path / "password")
    assert config.client_options()["password"] == "from-file"  # noqa: S105 - made up
    assert "from-file" not in f"{config!r} {config.model_dump()} {config.password()!r} {config.address}"


def test_a_password_in_the_configuration_is_refused() -> None:
    with pytest.raises(ValidationError, match="password"):
        ClickHouseConfig.model_validate({"password": "secret"})


def test_no_plaintext_off_this_host_unless_allowed() -> None:
    with pytest.raises(ValidationError, match="interface to https"):
        ClickHouseConfig(interface="http", host="ch.example.com")
    assert ClickHouseConfig(interface="http", host="ch.example.com", allow_plaintext=True).server_port == 8123
    assert ClickHouseConfig(interface="https", host="ch.example.com").server_port == 8443


def test_database_names_are_identifiers() -> None:
    with pytest.raises(ValidationError, match="database"):
        ClickHouseConfig(database="a`; DROP DATABASE b")


def test_names_of_settings_are_identifiers() -> None:
    with pytest.raises(ValidationError, match="insert_settings"):
        ClickHouseConfig(insert_settings={"a = 1 FORMAT CSV --": 1})
