"""Weights that a run keeps beside those that dev chooses: which they are, and that training stays the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides
from seqkd.errors import ConfigError
from seqkd.tasks.translation import TASK
from seqkd.tasks.translation.work import TextWork
from seqkd.training.run import train
from seqkd.training.study import Study
from tests.pairs_corpus import arguments, make_corpus, settings, train_here

TRAINING = [
    "student.training.updates=60",
    "student.training.validate_every=10",
    "student.training.average=1",
    "student.training.lr=5e-2",  # so that the least loss, the best BLEU and the last weights are apart
]
KEEP = "student.training.keep=[last,dev_bleu]"
VARIANTS = {
    "none_last": "{of: none, label: Last, teacher: none, procedure: seqkd.training.kept.last}",
    "none_bleu": "{of: none, label: Best BLEU, teacher: none, procedure: seqkd.training.kept.best_bleu}",
}
OPTIONS = [*TRAINING, KEEP, f"systems=[{','.join(VARIANTS)}]", *(f"variants.{k}={v}" for k, v in VARIANTS.items())]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def kept(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that kept both."""
    return train_here(tmp_path_factory.mktemp("kept"), data, "none", *TRAINING, KEEP)


def taken(exp: Path, data: Path, name: str) -> Path:
    args = parse(parser("test", ""), arguments(exp, data, *OPTIONS))
    return train(TASK, compose(args, *system_overrides(compose(args), name, 0)))


def dev_loss(run: Path, weights: Path, data: Path) -> float:
    """Dev NLL of a network of the run with these weights."""
    work = TextWork(Study(TASK, settings(run.parents[1], data, "system=none", *TRAINING, KEEP)))
    work.model.load_state_dict(load_file(weights))
    work.model.eval()
    with torch.no_grad():
        sums = [work.measure(work.model, batch)["dev_nll"] for batch in work.dev(0, 1)]
    return sum(nll for nll, _ in sums) / sum(count for _, count in sums)


def test_each_is_what_its_rule_chooses(kept: Path, data: Path) -> None:
    rows = json.loads((kept / "history.json").read_text())["rows"]
    losses, scores = [row["dev_nll"] for row in rows], [row["dev_bleu"] for row in rows]
    assert len(rows) == 6 and all(0 <= score <= 100 for score in scores) and len(set(scores)) > 1
    chosen = {
        "model": min(losses),
        "kept/last": losses[-1],
        "kept/dev_bleu": losses[scores.index(max(scores))],
    }
    for folder, expected in chosen.items():
        assert dev_loss(kept, kept / folder / "model.safetensors", data) == pytest.approx(expected, rel=1e-5), folder


def test_training_is_the_same(kept: Path, data: Path, tmp_path: Path) -> None:
    alone = train_here(tmp_path, data, "none", *TRAINING)
    one, other = (load_file(run / "model" / "model.safetensors") for run in (alone, kept))
    assert all(one[name].equal(other[name]) for name in one)
    assert not (alone / "kept").exists()


def test_a_system_is_the_weights_of_another(kept: Path, data: Path) -> None:
    for name, folder in (("none_last", "last"), ("none_bleu", "dev_bleu")):
        run = taken(kept.parents[1], data, name)
        ours, theirs = (load_file(one / "model.safetensors") for one in (run / "model", kept / "kept" / folder))
        assert all(ours[key].equal(theirs[key]) for key in theirs)
        summary = json.loads((run / "summary.json").read_text())
        assert (summary["system"], summary["weights"], summary["steps"]) == (name, folder, 60)
        before = (run / "summary.json").stat().st_mtime_ns
        taken(kept.parents[1], data, name)
        assert (run / "summary.json").stat().st_mtime_ns == before


def test_what_was_not_kept(data: Path, tmp_path: Path) -> None:
    train_here(tmp_path, data, "none", *TRAINING)
    with pytest.raises(
        ConfigError, match=r"kept no weights 'last'; train it with student\.training\.keep=\[last\] first"
    ):
        taken(tmp_path, data, "none_last")
    with pytest.raises(ConfigError, match="keep"):
        settings(tmp_path, data, "student.training.keep=[best]")
