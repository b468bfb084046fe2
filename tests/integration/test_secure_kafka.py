"""Apache Kafka with TLS, SASL and ACLs: every way in works, a refusal says why, a role has what it needs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError

from streams.broker import free_port
from streams.client import BrokerRefused, BrokerUnreachable, client_settings, open_admin
from streams.kafka_config import KafkaConfig
from streams.supervisor import read_status
from streams.topics import ALERTS, DEADLETTERS, INTERACTIONS, PARTIALS, STATE
from tests.support.acls import ROLES, variable
from tests.support.kafka import NoKafka
from tests.support.processes import Child, eventually, tidewatch
from tests.support.secure_kafka import HOST, SecureKafka, password_of, secure_kafka, unsecured_token

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """The broker, with exactly the rights of deploy/kafka-acls.sh."""
    try:
        with secure_kafka(tmp_path_factory.mktemp("secure-kafka")) as kafka:
            _run_script(kafka)
            yield kafka
    except NoKafka as reason:
        pytest.skip(str(reason))


def _run_script(kafka: SecureKafka) -> None:
    given = {
        "BOOTSTRAP": f"127.0.0.1:{kafka.ports.internal}",
        "KAFKA_ACLS": str(kafka.tool("org.apache.kafka.tools.AclCommand")),
    }
    given |= {variable(role): f"User:{role.name}" for role in ROLES}
    done = subprocess.run(
        [ROOT / "deploy" / "kafka-acls.sh"],
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def write_config(folder: Path, kafka: dict[str, Any], name: str = "tidewatch.toml") -> Path:
    lines = [f"{key} = {orjson.dumps(value).decode()}" for key, value in kafka.items()]
    path = folder / name
    path.write_text(
        f'state_dir = "{folder / "state"}"\n[kafka]\n' + "\n".join(lines) + "\n[topics]\npartitions = 2\n"
        '[checkpoint]\nstore = "topic"\ninterval_secs = 0.5\n[windows]\nbase_secs = 5\n'
    )
    return path


async def topics_seen(kafka: dict[str, Any]) -> list[str]:
    admin = await open_admin(KafkaConfig.model_validate(kafka), timeout_secs=1.0)
    try:
        return sorted(await admin.list_topics())
    finally:
        await admin.close()


async def send(kafka: dict[str, Any], topic: str) -> None:
    producer = AIOKafkaProducer(**client_settings(KafkaConfig.model_validate(kafka)), enable_idempotence=True)
    try:
        await producer.start()
        await producer.send_and_wait(topic, b"{}")
    finally:
        await producer.stop()


def events(count: int) -> bytes:
    """Twenty a second of event time until now; one in four fails, which breaks the default rule."""
    first_ms = int(time.time() * 1000) - count * 50
    return b"".join(
        orjson.dumps(
            {
                "event_id": f"e{number}",
                "occurred_at": first_ms + number * 50,
                "model_requested": "m",
                "status": "error" if number % 4 == 0 else "ok",
            }
        )
        + b"\n"
        for number in range(count)
    )


def test_each_role_works_with_exactly_its_rights(secure: SecureKafka, tmp_path: Path) -> None:
    """Topics made, records sent, worked on and recorded, alerts read: five users over TLS and SCRAM."""
    paths = {
        role.name: write_config(tmp_path, secure.scram(role.name), f"{role.name}.toml") for role in ROLES
    }
    made = _tidewatch("topics", "create", "--config", str(paths["admin"]))
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.count("created") == 10
    checked = _tidewatch("check", "--connect", "--config", str(paths["admin"]))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (tmp_path / "events.jsonl").write_bytes(events(2000))
    with (
        _worker("detect", paths["detect"], tmp_path) as detect,
        _worker("record", paths["record"], tmp_path) as record,
    ):
        sent = _tidewatch("produce", str(tmp_path / "events.jsonl"), "--config", str(paths["producer"]))
        assert sent.returncode == 0, sent.stdout + sent.stderr
        alert = asyncio.run(_first_alert(secure.scram("on-call")))
        assert alert["severity"] in ("warning", "critical")

        def recorded() -> bool:
            assert record.running, record.output()
            return int(_status(tmp_path, "record", record).get("rows", 0)) > 2000

        eventually(recorded, within_secs=120, what="rows are recorded")
        eventually(
            lambda: _status(tmp_path, "detect", detect).get("checkpoints"),
            what="a checkpoint in tidewatch.state",
        )
        assert alert["alert_id"]
        for child in (detect, record):
            child.send(signal.SIGTERM)
            assert child.wait(20) == 0, child.output()
            assert "uthorization" not in child.output()


async def _first_alert(kafka: dict[str, Any]) -> dict[str, Any]:
    consumer = AIOKafkaConsumer(
        ALERTS,
        **client_settings(KafkaConfig.model_validate(kafka)),
        group_id="on-call",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(120):
            record = await consumer.getone()
        alert: dict[str, Any] = orjson.loads(record.value)
        return alert
    finally:
        await consumer.stop()


def test_a_producer_cannot_touch_results_or_state(secure: SecureKafka) -> None:
    producer = secure.scram("producer")
    asyncio.run(send(producer, INTERACTIONS))
    for topic in (STATE, PARTIALS, ALERTS, DEADLETTERS):
        with pytest.raises(TopicAuthorizationFailedError):
            asyncio.run(send(producer, topic))
    with pytest.raises(ClusterAuthorizationFailedError):  # may write nowhere, so gets no producer id
        asyncio.run(send(secure.scram("on-call"), ALERTS))
    assert asyncio.run(topics_seen(secure.scram("nobody"))) == []


@pytest.mark.parametrize(
    ("role", "user", "expected"),
    [
        ("detect", "producer", "tidewatch.partials"),  # some topics are missing
        ("detect", "admin", "grant the rights of docs/security.md"),  # sees all topics, may write to none
    ],
)
def test_missing_rights_are_named(
    secure: SecureKafka, tmp_path: Path, role: str, user: str, expected: str
) -> None:
    with _worker(role, write_config(tmp_path, secure.scram(user)), tmp_path) as worker:
        assert worker.wait(30) == 1, worker.output()
        assert expected in worker.output()
        assert password_of(user) not in worker.output()


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-256", "token file", "token endpoint", "certificate"])
def test_every_way_in(secure: SecureKafka, tmp_path: Path, way: str) -> None:
    """The same user by each mechanism; no right shows that the broker knows who it is."""
    oauth = {
        "bootstrap": f"{HOST}:{secure.ports.sasl}",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "ca_file": str(secure.ca_file),
    }
    match way:
        case "PLAIN" | "SCRAM-SHA-256":
            settings = secure.scram("on-call", sasl_mechanism=way)
        case "certificate":
            settings = _mutual(secure)
        case "token file":
            token = secure.secret_file("token", unsecured_token("on-call"))
            settings = oauth | {"oauth_token_file": str(token)}
        case _:
            asyncio.run(_by_endpoint(secure, oauth))
            return
    assert ALERTS in asyncio.run(topics_seen(settings)) or not asyncio.run(topics_seen(settings))


def _mutual(secure: SecureKafka) -> dict[str, Any]:
    return {
        "bootstrap": f"{HOST}:{secure.ports.mutual}",
        "security_protocol": "SSL",
        "ca_file": str(secure.ca_file),
        "cert_file": str(secure.client_cert),
        "key_file": str(secure.client_key),
    }


async def _by_endpoint(secure: SecureKafka, oauth: dict[str, Any]) -> None:
    """Client credentials: asked for once, and used for each connection while the token is fresh."""
    asked: list[tuple[str | None, dict[str, Any]]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers.get("Authorization"), dict(await request.post())))
        return web.json_response({"access_token": unsecured_token("on-call"), "expires_in": 300})

    app = web.Application()
    app.router.add_post("/token", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        settings = oauth | {
            "oauth_token_url": f"http://127.0.0.1:{port}/token",
            "oauth_scope": "kafka",
            "sasl_username": "client",
            "sasl_password_file": str(secure.secret_file("client-secret", "Tau")),
        }
        await topics_seen(settings)
        assert {login for login, _ in asked} == {"Basic Y2xpZW50OlRhdQ=="}
        assert asked[0][1] == {"grant_type": "client_credentials", "scope": "kafka"}
        with pytest.raises(BrokerRefused, match="answers 404 Not Found, expected 200 and a token; check"):
            await topics_seen(settings | {"oauth_token_url": f"http://127.0.0.1:{port}/other"})
    finally:
        await runner.cleanup()


def _refused(secure: SecureKafka, case: str) -> tuple[dict[str, Any], type[Exception], str]:
    """Settings that do not work, the error's class, and what its message must say."""
    ports = secure.ports
    tls = {"security_protocol": "SSL", "ca_file": str(secure.ca_file)}
    wrong = str(secure.secret_file("wrong", "Gewittertierchen"))
    cases: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
        "wrong password": (
            secure.scram("detect", sasl_password_file=wrong),
            BrokerRefused,
            r"refuses user 'detect' or its password \(SCRAM-SHA-512\); check .*sasl_password_file",
        ),
        "untrusted certificate": (
            secure.scram("detect", ca_file=str(secure.other_ca_file)),
            BrokerRefused,
            "certificate is not trusted .*; set kafka.ca_file",
        ),
        "wrong host name": (
            tls | {"bootstrap": f"{HOST}:{ports.wrong_name}"},
            BrokerRefused,
            "certificate is for another name .*'localhost'.*; use the name of the certificate",
        ),
        "expired certificate": (
            tls | {"bootstrap": f"{HOST}:{ports.expired}"},
            BrokerRefused,
            "certificate has expired; renew it",
        ),
        "plaintext to TLS": (
            {"bootstrap": f"{HOST}:{ports.sasl}"},
            BrokerUnreachable,
            "got kafka.security_protocol PLAINTEXT; .* SASL_SSL or SSL",
        ),
        "TLS to plaintext": (
            tls | {"bootstrap": f"{HOST}:{ports.internal}"},
            BrokerUnreachable,
            "ended the TLS handshake, got kafka.security_protocol SSL; .* PLAINTEXT on this computer",
        ),
        "TLS without SASL": (
            tls | {"bootstrap": f"{HOST}:{ports.sasl}"},
            BrokerUnreachable,
            "got kafka.security_protocol SSL; .* SASL_SSL",
        ),
        "SASL where there is none": (
            secure.scram("detect") | _mutual(secure) | {"security_protocol": "SASL_SSL"},
            BrokerRefused,
            "has no SASL; use another",
        ),
        "no client certificate": (
            tls | {"bootstrap": f"{HOST}:{ports.mutual}"},
            BrokerRefused,
            "asks for a client certificate .*; set kafka.cert_file",
        ),
        "forged token": (
            {
                "bootstrap": f"{HOST}:{ports.sasl}",
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "OAUTHBEARER",
                "ca_file": str(secure.ca_file),
                "oauth_token_file": str(secure.secret_file("forged", "Gewittertierchen.b.c")),
            },
            BrokerRefused,
            "OAuth token is refused: the broker does not accept it; see",
        ),
    }
    return cases[case]


@pytest.mark.parametrize(
    "case",
    [
        *("wrong password", "untrusted certificate", "wrong host name", "expired certificate"),
        *("plaintext to TLS", "TLS to plaintext", "TLS without SASL", "SASL where there is none"),
        *("no client certificate", "forged token"),
    ],
)
def test_a_refusal_says_why_at_once(secure: SecureKafka, case: str) -> None:
    settings, kind, message = _refused(secure, case)
    with pytest.raises(kind, match=message) as caught:
        asyncio.run(topics_seen(settings))
    assert settings["bootstrap"] in str(caught.value)
    assert "Gewittertierchen" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "case"),
    [
        (["worker", "detect"], "wrong password"),
        (["check", "--connect"], "wrong password"),
        (["topics", "create"], "untrusted certificate"),
        (["produce"], "wrong host name"),
    ],
)
def test_commands_say_it_once_and_end(
    secure: SecureKafka, tmp_path: Path, command: list[str], case: str
) -> None:
    settings, _, _ = _refused(secure, case)
    if command == ["produce"]:
        (tmp_path / "events.jsonl").write_bytes(events(1))
        command = ["produce", str(tmp_path / "events.jsonl")]
    done = _tidewatch(*command, "--config", str(write_config(tmp_path, settings)))
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert len([line for line in told.splitlines() if settings["bootstrap"] in line]) == 1, told
    assert "Traceback" not in told
    assert "Gewittertierchen" not in told


def _tidewatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def _worker(role: str, path: Path, folder: Path) -> Child:
    return tidewatch("worker", role, "--config", str(path), log=folder / f"{role}.log", cwd=folder)


def _status(folder: Path, role: str, child: Child) -> dict[str, Any]:
    return read_status(folder / "state").get((role, child.pid), {})
