"""Kafka's settings: what cannot work is refused before anything connects; tokens that are over, too."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sinks.credentials import CredentialError
from streams.client import client_settings
from streams.kafka_config import PASSWORD_VARIABLE, KafkaConfig
from streams.sasl import read_token

REMOTE = "broker.example.org:9093"
OAUTH: dict[str, Any] = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"bootstrap": "broker.example.org"}, "not host:port"),
        ({"bootstrap": "me:secret@broker.example.org:9093"}, "not host:port"),
        ({"bootstrap": "127.example.org:9092"}, "unencrypted connection to 127.example.org"),
        ({"bootstrap": REMOTE, "security_protocol": "SASL_PLAINTEXT", "sasl_username": "u"}, "unencrypted"),
        ({"ca_file": "ca.pem"}, "ca_file with security_protocol PLAINTEXT"),
        ({"security_protocol": "SSL", "cert_file": "c.pem"}, "one of cert_file and key_file"),
        ({"security_protocol": "SSL", "sasl_username": "u"}, "sasl_username with security_protocol SSL"),
        ({"security_protocol": "SASL_SSL"}, "SASL without a user"),
        ({"security_protocol": "SASL_SSL", "sasl_username": "u", "oauth_scope": "s"}, "oauth_scope without"),
        (OAUTH, "without one source of tokens"),
        (OAUTH | {"oauth_token_file": "t", "oauth_token_url": "https://a/b"}, "without one source of tokens"),
        (OAUTH | {"oauth_token_url": "https://a/b"}, "SASL without a user"),
        (
            OAUTH | {"oauth_token_url": "http://idp.example.org/t", "sasl_username": "u"},
            "make oauth_token_url https",
        ),
        (
            OAUTH | {"oauth_token_url": "https://u:secret@a/b", "sasl_username": "u"},
            "credentials in oauth_token_url",
        ),
        (OAUTH | {"oauth_token_url": "idp", "sasl_username": "u"}, "is no address"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        KafkaConfig.model_validate(settings)
    assert told in caught.value.errors()[0]["msg"]


def test_the_embedded_broker_gets_no_credentials_and_no_encryption() -> None:
    files = {"sasl_password_file": "p", "ca_file": "ca", "cert_file": "c", "key_file": "k"}
    remote = KafkaConfig.model_validate(
        {"bootstrap": REMOTE, "security_protocol": "SASL_SSL", "sasl_username": "u", "chunk_records": 7}
        | files
    )
    local = remote.on_this_computer("127.0.0.1:1")
    assert local == KafkaConfig(bootstrap="127.0.0.1:1", enable_idempotence=False, chunk_records=7)


def test_a_password_comes_from_the_environment_and_its_absence_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kafka = KafkaConfig(security_protocol="SASL_PLAINTEXT", sasl_username="u")
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    with pytest.raises(
        CredentialError, match=f"set kafka.sasl_password_file or the variable {PASSWORD_VARIABLE}"
    ):
        client_settings(kafka)
    monkeypatch.setenv(PASSWORD_VARIABLE, "Schnake")
    assert client_settings(kafka)["sasl_plain_password"] == "Schnake"  # noqa: S105 - made up


def token(claims: dict[str, Any]) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.Schnake"


def test_a_token_that_is_over_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    for fine in (token({"exp": time.time() + 60}), token({"sub": "u"}), "opaque"):
        path.write_text(fine)
        assert read_token(path) == fine
    path.write_text(token({"exp": time.time() - 60}))
    with pytest.raises(CredentialError, match=r"expired 6\d s ago; see who renews the file") as caught:
        read_token(path)
    assert "Schnake" not in str(caught.value)
