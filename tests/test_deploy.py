"""The compose file and the Dockerfile, as far as they can be held to account without a Docker engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from streams.cli import COMMANDS
from streams.config import load_config

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
SERVICES = yaml.safe_load(TEXT)["services"]


def test_the_compose_file_follows_the_specification() -> None:
    assert PyCompose.from_yaml(TEXT).service_names() == list(SERVICES)


def test_the_checker_would_notice() -> None:
    with pytest.raises(ValueError, match="restart"):
        PyCompose.from_yaml(TEXT.replace("restart: unless-stopped", "restart: sometimes", 1))


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert re.search(r":\d+\.\d+(\.\d+)?$", SERVICES[name]["image"])


def test_the_base_image_is_pinned() -> None:
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)


@pytest.mark.parametrize("name", ["kafka", "clickhouse"])
def test_what_others_wait_for_has_a_healthcheck(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    waiting = [s["depends_on"] for s in SERVICES.values() if name in s.get("depends_on", {})]
    assert {"condition": "service_healthy"} in [depends[name] for depends in waiting]


def test_topics_are_made_once_before_the_workers_start() -> None:
    assert SERVICES["topics"]["restart"] == "no"
    for worker in ("detect", "record"):
        assert SERVICES[worker]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", ["topics", "detect", "record"])
def test_services_run_commands_that_exist(name: str) -> None:
    assert SERVICES[name]["command"][0] in COMMANDS


def test_only_loopback_is_published() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_configuration_of_the_compose_file_is_valid() -> None:
    config = load_config(ROOT / "deploy" / "tidewatch.compose.toml")
    assert config.kafka.bootstrap == "kafka:9092"
    assert config.checkpoint.store == "topic"
    assert config.clickhouse.interface == "http"


def test_the_image_holds_what_it_copies() -> None:
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    allowed = (ROOT / ".dockerignore").read_text("utf-8")
    for source in (name for line in sources for name in line.split()):
        assert (ROOT / source).exists()
        assert f"!{source}" in allowed
