"""What a running stack shows: no secret in any file, output, command line or foreign environment; loopback only."""

from __future__ import annotations

import ipaddress
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.broker import free_port
from streams.config import ConfigError, load_config, parse_config
from streams.supervisor import running_stack
from tests.support.processes import Child, children_of, eventually, tidewatch
from tests.support.sockets import listening

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(300)]

CANARY = "Zaunkoenig"
VARIABLES = {
    name: f"{CANARY}-in-the-environment-{number}"
    for number, name in enumerate(
        ("TIDEWATCH_KAFKA_PASSWORD", "TIDEWATCH_CLICKHOUSE_PASSWORD", "TIDEWATCH_PSEUDONYM_KEY")
    )
}


def write_config(folder: Path) -> Path:
    """Every setting of a secret, set; the stack on this computer uses none of Kafka's."""
    files = {}
    for name in ("kafka-password", "clickhouse-password", "key"):
        files[name] = folder / f"{name}.secret"
        files[name].touch(mode=0o600)
        files[name].write_text(f"{CANARY} in {name}")
    path = folder / "tidewatch.toml"
    path.write_text(
        f'state_dir = "{folder / "state"}"\n'
        f'[kafka]\nbootstrap = "kafka.example.org:{free_port()}"\nsecurity_protocol = "SASL_SSL"\n'
        f'sasl_username = "tidewatch"\nsasl_password_file = "{files["kafka-password"]}"\n'
        f'cert_file = "{folder / "cert.pem"}"\nkey_file = "{files["key"]}"\n'
        f'[clickhouse]\npassword_file = "{files["clickhouse-password"]}"\n[topics]\npartitions = 2\n'
    )
    return path


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Child]:
    """`tidewatch` with its broker and workers, each of which serves health checks when it is there."""
    with tidewatch(*arguments, log=folder / "output", cwd=folder, env=VARIABLES) as child:
        yield child
        child.send(signal.SIGTERM)
        child.wait(30)


def served_by(child: Child, processes: int) -> dict[int, set[tuple[str, int]]]:
    """Sockets of the program and its children, once ``processes`` of them listen."""
    found: dict[int, set[tuple[str, int]]] = {}

    def complete() -> bool:
        assert child.running, child.output()
        for pid in (child.pid, *children_of(child.pid)):
            try:
                found[pid] = listening(pid)
            except OSError:
                found.pop(pid, None)
        return sum(bool(sockets) for sockets in found.values()) >= processes

    eventually(complete, within_secs=120, what=f"{processes} processes listen")
    return found


def assert_loopback(sockets: dict[int, set[tuple[str, int]]]) -> None:
    addresses = {address for found in sockets.values() for address, _ in found}
    assert addresses
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses), sockets
    assert 6066 not in {port for found in sockets.values() for _, port in found}, "Faust's web server is off"


def test_a_stack_shows_no_secret_and_listens_on_loopback_only(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    with running(tmp_path, "up", "--json", "--config", str(path)) as child:
        sockets = served_by(child, processes=3)  # the broker, and the health checks of two workers
        eventually(lambda: '"ready"' in child.output(), within_secs=120, what="the stack is ready")
        assert_loopback(sockets)
        stack = running_stack(tmp_path / "state")
        assert stack is not None
        pids = (child.pid, *children_of(child.pid))
        for pid in pids:
            assert CANARY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        for pid in {pid for pid in pids if pid != child.pid}:
            assert stat.S_IMODE(Path(f"/proc/{pid}/environ").stat().st_mode) & 0o077 == 0
        broker = Path(f"/proc/{stack.processes['broker']}/environ").read_bytes()
        assert b"TIDEWATCH_" not in broker
        assert CANARY.encode() not in broker
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "state" / "up" / "config.json").stat().st_mode) == 0o600
        # A worker that is killed, and one that cannot read its configuration, leave nothing either.
        os.kill(stack.processes["detect-1"], signal.SIGABRT)
        eventually(lambda: "detect-1 ended" in child.output(), what="the worker's end is told")
    assert shown(tmp_path) == []


def shown(folder: Path) -> list[Path]:
    """Files that contain the canary, except those that were written to hold it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".secret"]
    assert folder / "output" in files
    return [path for path in files if CANARY.encode() in path.read_bytes()]


def test_the_demo_listens_on_loopback_only(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as child:
        assert_loopback(served_by(child, processes=3))
    assert shown(tmp_path) == []


def test_a_configuration_shows_where_secrets_are_but_not_what_they_are(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path))
    assert CANARY not in f"{config!r} {config.model_dump()} {config.model_dump_json()}"
    assert str(config.kafka.sasl_password_file) in config.model_dump_json()


@pytest.mark.parametrize(
    ("section", "name"),
    [
        *(("kafka", name) for name in ("sasl_password", "oauth_token", "ssl_passphrase", "client_secret")),
        *(("clickhouse", name) for name in ("password", "api_key", "credentials")),
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_not_repeated(section: str, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({section: {name: CANARY}})
    assert f"{section}.{name}" in str(caught.value)
    assert CANARY not in str(caught.value)
