"""A real Apache Kafka with TLS, SASL and ACLs, from Maven's jars: one broker, one listener for each way in.

Certificates are made by trustme; SCRAM users when the log is formatted; ACLs by Kafka's own StandardAuthorizer.
"""

from __future__ import annotations

import base64
import datetime
import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from streams.broker import free_port
from tests.support.kafka import SETTINGS, NoKafka, await_port, jars_folder
from tests.support.processes import Child

ROLES: Final = ("admin", "producer", "detect", "record", "on-call")
USERS: Final = (*ROLES, "nobody")
"""SCRAM users; ``nobody`` has no rights."""
HOST: Final = "localhost"


@dataclass(frozen=True)
class Ways:
    """Ports of the broker's listeners."""

    internal: int
    """PLAINTEXT, for the superuser (ANONYMOUS)."""
    sasl: int
    """TLS and SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER."""
    mutual: int
    """TLS with a client certificate."""
    wrong_name: int
    """TLS with a certificate for another host."""
    expired: int
    """TLS with a certificate of last year."""


@dataclass(frozen=True)
class SecureKafka:
    """A running broker and what its clients need."""

    ports: Ways
    folder: Path
    ca_file: Path
    other_ca_file: Path
    """An authority that signed nothing here."""
    client_cert: Path
    """Of the user ``on-call``, with ``client_key``."""
    client_key: Path
    java: tuple[str, ...]

    def scram(self, user: str, **more: Any) -> dict[str, Any]:
        """The section [kafka] of a user who logs in with SCRAM-SHA-512 and a password file."""
        return {
            "bootstrap": f"{HOST}:{self.ports.sasl}",
            "security_protocol": "SASL_SSL",
            "ca_file": str(self.ca_file),
            "sasl_username": user,
            "sasl_password_file": str(self.secret_file(f"{user}.password", password_of(user))),
        } | more

    def secret_file(self, name: str, secret: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(secret + "\n")
        return path

    def tool(self, main_class: str) -> Path:
        """A command that runs one of Kafka's tools, as Kafka's own scripts of bin/ do."""
        path = self.folder / f"{main_class}.sh"
        path.write_text(f'#!/bin/sh\nexec {" ".join(self.java[:-1])} "{self.java[-1]}" {main_class} "$@"\n')
        path.chmod(0o755)
        return path


def password_of(user: str) -> str:
    return f"Wattwurm-{user}-4711"


def unsecured_token(user: str, life_secs: float = 300.0) -> str:
    """A JWT without signature, as Kafka's built-in validator for tests takes it."""
    now = time.time()
    parts: list[dict[str, Any]] = [{"alg": "none"}, {"sub": user, "iat": now - 1, "exp": now + life_secs}]
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."
    )


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Start the broker; stop it at the end.

    Raises:
        NoKafka: with the reason.
    """
    if not (shutil.which("java") and shutil.which("mvn")):
        raise NoKafka("needs a real Kafka with TLS: java and mvn are not both installed")
    ports = Ways(*(free_port() for _ in range(5)))
    authority = trustme.CA()
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (folder / "other-ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    # Short-lived tools: the quick compiler only, and a collector without threads of its own.
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
    java = ("java", "-Xmx512m", *quick, "-Dlog4j2.level=WARN", "-cp", f"{jars_folder()}/*")
    settings = folder / "server.properties"
    settings.write_text("".join(f"{k}={v}\n" for k, v in _settings(ports, folder, authority).items()))
    settings.chmod(0o600)
    client = authority.issue_cert("on-call.example.org", common_name="on-call")
    _write_pem(client, folder / "client-key.pem", folder / "client-cert.pem")
    scram = [
        part
        for mechanism, users in (("SCRAM-SHA-512", USERS), ("SCRAM-SHA-256", ("on-call",)))
        for user in users
        for part in ("--add-scram", f"{mechanism}=[name={user},password={password_of(user)}]")
    ]
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c", str(settings), *scram],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with Child([*java, "kafka.Kafka", str(settings)], folder / "kafka.log", cwd=folder) as broker:
        for port in vars(ports).values():
            await_port(broker, port)
        yield SecureKafka(
            ports,
            folder,
            folder / "ca.pem",
            folder / "other-ca.pem",
            folder / "client-cert.pem",
            folder / "client-key.pem",
            java,
        )


def _settings(ports: Ways, folder: Path, authority: trustme.CA) -> dict[str, str]:
    controller = free_port()
    names = {
        "INTERNAL": ports.internal,
        "SASL": ports.sasl,
        "MUTUAL": ports.mutual,
        "WRONGNAME": ports.wrong_name,
        "EXPIRED": ports.expired,
    }
    last_year = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=365)
    certificates = {
        "sasl": authority.issue_cert(HOST),
        "mutual": authority.issue_cert(HOST),
        "wrongname": authority.issue_cert("kafka.example.org"),
        "expired": authority.issue_cert(HOST, not_after=last_year),
    }
    keystores = {}
    for name, certificate in certificates.items():
        path = folder / f"{name}.pem"
        _write_pem(certificate, path, path)
        keystores |= {
            f"listener.name.{name}.ssl.keystore.type": "PEM",
            f"listener.name.{name}.ssl.keystore.location": str(path),
        }
    security = "org.apache.kafka.common.security"
    logins = {
        "plain": f'{security}.plain.PlainLoginModule required user_on-call="{password_of("on-call")}";',
        "scram-sha-256": f"{security}.scram.ScramLoginModule required;",
        "scram-sha-512": f"{security}.scram.ScramLoginModule required;",
        "oauthbearer": f"{security}.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";',
    }
    return (
        SETTINGS
        | {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": ",".join(
                [f"{name}://127.0.0.1:{port}" for name, port in names.items()]
                + [f"CONTROLLER://127.0.0.1:{controller}"]
            ),
            "advertised.listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in names.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INTERNAL",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,SASL:SASL_SSL,"
            "MUTUAL:SSL,WRONGNAME:SSL,EXPIRED:SSL",
            "log.dirs": str(folder / "log"),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": str(folder / "ca.pem"),
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]*).*$/$1/",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        | keystores
        | {f"listener.name.sasl.{name}.sasl.jaas.config": login for name, login in logins.items()}
    )


def _write_pem(certificate: trustme.LeafCert, key_path: Path, chain_path: Path) -> None:
    """Key and chain, in one file if the paths are one; Java reads keys as PKCS 8 only."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    key_path.touch(mode=0o600)
    if key_path == chain_path:
        key_path.write_bytes(key_pem + chain)
    else:
        key_path.write_bytes(key_pem)
        chain_path.write_bytes(chain)
