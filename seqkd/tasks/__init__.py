"""What the recipes' commands do for each kind of recipe, its task.

``seqkd train --task translation`` and its fellows read their settings from ``seqkd/conf/<task>`` and call the module of
that name here, which has

- ``PREPARE``: the steps of ``seqkd prepare`` after the corpus, by name, in order; each is called with the settings;
- ``GROUPS``: the runs of ``seqkd train --group teachers`` and ``students``: functions from the settings to (system,
  seed) pairs, in order; the runs of one function need nothing of each other;
- ``train(cfg)``: train the system and seed that the settings name;
- ``decode(cfg, system, seed, name)`` and ``score(cfg, system, seed, name)``, for the test set ``name``;
- ``report(cfg, systems, command)``: write RESULTS.md, ``systems`` being their settings by name;
- ``make_book(cfg, systems, shard, shards)``: write what teachers give (asr and translation), or a share of it, for
  ``systems``, the settings of each; and ``pages_to_make(cfg, systems)``, how much is missing (asr);
- ``export(cfg)``: files to deploy: of the settings' system (asr), or of the best student (shots);
- ``check(cfg)``: raise SeqkdError if a number that the preset promises was not reached.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from omegaconf import DictConfig

Runs = list[tuple[str, int]]


def task_of(cfg: DictConfig) -> ModuleType:
    """Import the module of the settings' task."""
    return importlib.import_module(f"seqkd.tasks.{cfg.task}")


def runs_of(cfg: DictConfig, group: str) -> list[Runs]:
    """The runs of a group, teachers or students, in steps: those of a step may need those of earlier ones."""
    return [runs for step in task_of(cfg).GROUPS[group] if (runs := step(cfg))]


def all_runs(cfg: DictConfig) -> Runs:
    """Every (system, seed) of a recipe, in the order of training."""
    return [run for group in task_of(cfg).GROUPS for step in runs_of(cfg, group) for run in step]
