"""The files under deploy/ and the runbook, held against the program that they are about."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from streams.cli import main as cli
from streams.config import parse_config
from streams.operate.monitoring import CONDITIONS
from streams.operate.table import METRICS

ROOT = Path(__file__).resolve().parents[1]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
MANIFEST = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "tidewatch.yaml").read_text("utf-8")))
WORKERS = [document for document in MANIFEST if document["kind"] == "Deployment"]
RULES_FILE = ROOT / "deploy" / "prometheus" / "tidewatch.rules.yml"
RULES = yaml.safe_load(RULES_FILE.read_text("utf-8"))["groups"][0]["rules"]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text("utf-8")
ANCHORS = {
    re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
    for heading in re.findall(r"^#+ (.+)$", RUNBOOK, re.M)
}


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text("utf-8"))
    return parser


def parses(arguments: list[str]) -> None:
    """The program knows the command and its options; nothing is run."""
    shown = CliRunner().invoke(cli, [*arguments, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage: " in shown.output


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_start_a_worker_again_unless_it_was_asked_to_stop(path: Path) -> None:
    service = unit(path)["Service"]
    program, *arguments = shlex.split(service["ExecStart"].replace("%i", "9464"))
    assert program.endswith("/tidewatch")
    parses(arguments)
    assert service["Restart"] == "on-failure"
    assert int(service["TimeoutStopSec"].removesuffix("s")) > 15, "the worker's own limit comes first"
    assert service["StateDirectoryMode"] == "0700"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_are_valid_to_systemd(path: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / path.name
    copy.write_text(path.read_text("utf-8").replace("/opt/tidewatch/bin/tidewatch", sys.executable))
    instance = copy.with_name(copy.name.replace("@", "@9464"))
    instance.symlink_to(copy)
    checked = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", str(instance)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if copy.stem.rstrip("@") in line]
    # Older systemd does not know the steps of the delay, and ignores them.
    assert [line for line in complaints if "RestartSteps" not in line and "RestartMaxDelay" not in line] == []


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker["metadata"]["name"])
def test_probes_ask_where_the_worker_answers(worker: dict[str, Any]) -> None:
    config = parse_config(tomllib.loads(MANIFEST[0]["data"]["tidewatch.toml"]))
    pod = worker["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": config.operate.port}
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(config.operate.port)
    paths = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}
    assert paths == {
        "startupProbe": {"path": "/livez", "port": "health"},
        "livenessProbe": {"path": "/livez", "port": "health"},
        "readinessProbe": {"path": "/readyz", "port": "health"},
    }
    liveness = container["livenessProbe"]
    # The worker ends itself when it hangs; the kubelet is the second line, and must not come before.
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 15
    parses(container["args"])


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker["metadata"]["name"])
def test_pods_have_the_least_rights(worker: dict[str, Any]) -> None:
    pod = worker["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["terminationGracePeriodSeconds"] > 15
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    labels = worker["spec"]["template"]["metadata"]["labels"]
    assert worker["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_only_prometheus_may_ask_where_all_interfaces_are_bound() -> None:
    config = parse_config(tomllib.loads(MANIFEST[0]["data"]["tidewatch.toml"]))
    (policy,) = [document for document in MANIFEST if document["kind"] == "NetworkPolicy"]
    (ingress,) = policy["spec"]["ingress"]
    assert ingress["ports"] == [{"port": config.operate.port, "protocol": "TCP"}]
    assert ingress["from"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rules_are_about_metrics_that_exist_and_name_a_runbook(rule: dict[str, Any]) -> None:
    used = set(re.findall(r"\btidewatch_\w+", rule["expr"]))
    assert used
    assert used <= METRICS.keys()
    for name in used:
        labels = re.findall(rf"{name}\{{(\w+)", rule["expr"])
        assert set(labels) <= set(METRICS[name].labels)
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert file == "docs/operations.md"
    assert anchor in ANCHORS


def test_prometheus_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run([promtool, "check", "rules", RULES_FILE], capture_output=True, timeout=30)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_has_a_runbook(condition: str) -> None:
    part = RUNBOOK.partition(f"\n### {condition}\n")[2].partition("\n### ")[0]
    assert "*Means*" in part
    assert "1. " in part


def test_the_checker_of_command_lines_would_notice() -> None:
    shown = CliRunner().invoke(cli, ["worker", "detect", "--porto", "1", "--help"])
    assert shown.exit_code == 2
