"""Finds the experiments: every module of ``tests.recovery.experiments`` with a tuple ``EXPERIMENTS``."""

from __future__ import annotations

import importlib
import pkgutil

from tests.recovery import experiments
from tests.recovery.experiment import Experiment


def all_experiments() -> dict[str, Experiment]:
    """By name, in the order of modules and tuples."""
    found: dict[str, Experiment] = {}
    for module in sorted(module.name for module in pkgutil.iter_modules(experiments.__path__)):
        for experiment in importlib.import_module(f"{experiments.__name__}.{module}").EXPERIMENTS:
            if experiment.name in found:
                raise ValueError(f"two experiments are called {experiment.name}")
            found[experiment.name] = experiment
    return found


def chosen(names: str | None) -> list[Experiment]:
    """Those named in a list with commas, or all. Raises KeyError for an unknown one."""
    found = all_experiments()
    return [found[name.strip()] for name in names.split(",")] if names else list(found.values())
