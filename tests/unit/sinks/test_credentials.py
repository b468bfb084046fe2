"""Secrets and certificates: where they are read from, and what is refused without showing them."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks.clickhouse_config import ClickHouseConfig
from sinks.clickhouse_refusal import refusal
from sinks.credentials import CredentialError, is_loopback, read_secret, tls_context

SECRET = "Kuckucksei"  # noqa: S105 - made up
VARIABLE = "TIDEWATCH_TEST_SECRET"


def private(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_file_wins_over_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_secret("a.b", None, VARIABLE) is None
    monkeypatch.setenv(VARIABLE, f" {SECRET}\n")
    from_variable = read_secret("a.b", None, VARIABLE)
    assert from_variable is not None
    assert from_variable.get_secret_value() == SECRET
    from_file = read_secret("a.b", private(tmp_path / "s", b"other\n"), VARIABLE)
    assert from_file is not None
    assert from_file.get_secret_value() == "other"
    assert SECRET not in f"{from_variable} {from_variable!r}"


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (SECRET.encode(), 0o640, "has mode 0640, so others can read the secret; run: chmod 600"),
        (SECRET.encode(), 0o604, "has mode 0604, so others can read the secret; run: chmod 600"),
        (b" \n", 0o600, "is empty"),
        (SECRET.encode() + b"\xff", 0o600, "is not UTF-8 text"),
        (SECRET.encode() * 10_000, 0o600, "is larger than 65536 bytes"),
    ],
)
def test_a_file_that_is_not_usable(tmp_path: Path, content: bytes, mode: int, told: str) -> None:
    path = private(tmp_path / "s", content, mode)
    with pytest.raises(CredentialError) as caught:
        read_secret("kafka.sasl_password_file", path, VARIABLE)
    assert str(caught.value).startswith(f"kafka.sasl_password_file: {path} ")
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match=r"nowhere cannot be read \(No such file or directory\)"):
        read_secret("a.b", tmp_path / "nowhere", VARIABLE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another owner")
def test_the_mode_of_another_owners_file_is_its_owners_matter(tmp_path: Path) -> None:
    path = private(tmp_path / "s", SECRET.encode(), 0o444)
    os.chown(path, 12_345, -1)
    found = read_secret("a.b", path, VARIABLE)
    assert found is not None
    assert found.get_secret_value() == SECRET


def test_tls_verifies_the_server_and_takes_a_pair(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("tidewatch.example.org")
    ca = private(tmp_path / "ca.pem", authority.cert_pem.bytes(), 0o644)
    cert = private(tmp_path / "cert.pem", own.cert_chain_pems[0].bytes(), 0o644)
    key = private(tmp_path / "key.pem", own.private_key_pem.bytes())
    context = tls_context("kafka", ca, cert, key)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("no ca", "kafka.ca_file: .* cannot be read"),
        ("ca is no certificate", "kafka.ca_file: .* holds no certificate in PEM"),
        ("open key", "kafka.key_file: .* has mode 0644"),
        ("foreign key", "kafka.cert_file and kafka.key_file: .* a pair that belongs together"),
        ("encrypted key", "the key is encrypted"),
        ("no certificate", "kafka.cert_file: .* cannot be read"),
    ],
)
def test_certificates_that_are_not_usable(tmp_path: Path, case: str, told: str) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    authority = trustme.CA()
    own, other = authority.issue_cert("a.example.org"), authority.issue_cert("b.example.org")
    ca = private(tmp_path / "ca.pem", authority.cert_pem.bytes())
    cert = private(tmp_path / "cert.pem", own.cert_chain_pems[0].bytes())
    key = private(tmp_path / "key.pem", own.private_key_pem.bytes())
    match case:
        case "no ca":
            ca.unlink()
        case "ca is no certificate":
            ca.write_text("nothing")
        case "open key":
            key.chmod(0o644)
        case "foreign key":
            key.write_bytes(other.private_key_pem.bytes())
        case "encrypted key":
            loaded = load_pem_private_key(own.private_key_pem.bytes(), None)
            key.write_bytes(
                loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
            )
        case _:
            cert.unlink()
    with pytest.raises(CredentialError, match=told):
        tls_context("kafka", ca, cert, key)


def test_only_addresses_of_loopback_and_localhost_are_this_host() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.0.1", "::1")))
    assert not any(map(is_loopback, ("127.example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0", "")))  # noqa: S104


def test_a_refused_login_is_no_defect_and_names_the_setting() -> None:
    config = ClickHouseConfig(interface="https", host="ch.example.org", username="tw")
    error = DatabaseError("Code: 516. DB::Exception: tw: Authentication failed", code=516)
    told = refusal(config, error)
    assert told is not None
    assert (
        "refuses user 'tw' or its password; check clickhouse.username and TIDEWATCH_CLICKHOUSE_PASSWORD"
        in told
    )
    assert refusal(config, DatabaseError("Code: 241. DB::Exception: memory", code=241)) is None
