"""What the recipes' commands do for each kind of recipe, its task: the last part of ``egs/<corpus>/<task>``.

``seqkd train --task seq2seq_ls`` and its fellows read their settings from ``seqkd/conf/<task>`` and call the module
of that name here, which has

- ``PREPARE``: what ``seqkd prepare`` can do beside the corpus, by name, in order; each is called with the settings;
- ``GROUPS``: what ``seqkd train`` trains, in order: by name, a function from the settings to (system, seed) pairs;
- ``train(cfg)``: train the system and seed that the settings name;
- ``decode(cfg, system, seed, name)`` and ``score(cfg, system, seed, name)``, for the test set ``name``;
- ``report(cfg, systems, command)``: write RESULTS.md, ``systems`` being their settings by name;
- ``make_book(cfg, systems, shard, shards)``: write what teachers know (ctc_kd and seq2seq_ls), or a share of it, for
  ``systems``, the settings of each; and ``pages_to_make(cfg, systems)``, how much is missing (ctc_kd);
- ``export(cfg)``: files to deploy, of every trained student (ctc_kd);
- ``check(cfg, chosen)``: raise SeqkdError if a number that the preset promises was not reached by one of the systems
  ``chosen``.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from omegaconf import DictConfig


def task_of(cfg: DictConfig) -> ModuleType:
    """Import the module of the settings' task."""
    return importlib.import_module(f"seqkd.tasks.{cfg.task}")


def all_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """Every (system, seed) of a recipe, in the order of training."""
    return [run for group in task_of(cfg).GROUPS.values() for run in group(cfg)]
