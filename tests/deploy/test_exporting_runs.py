"""``seqkd export`` of a recipe of classification: which run of which system, and what its card is given."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from seqkd.classification.model import classifier_hash
from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides
from seqkd.errors import ConfigError, DataError
from seqkd.tasks import task_of
from seqkd.tasks.classification.work import run_hash
from tests.deploy.classifiers import saved

SCORES = {"accuracy": {"value": 0.75, "ci95": [0.5, 1.0]}}


@dataclass
class Recipe:
    """An experiment directory, and the exports that were asked for, by directory."""

    exp: Path
    asked: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def run(self, system: str, seed: int, error: float) -> Path:
        """Write a finished run."""
        directory = self.exp / system / f"seed{seed}"
        saved(directory / "model", seed=seed)
        (directory / "summary.json").write_text(json.dumps({"best_dev_error": error, "clips": 12}))
        return directory

    def score(self, run: Path, model: str | None = None) -> None:
        """Write scores of its decoding of test."""
        decoded = run / "decode_test"
        decoded.mkdir()
        (decoded / "decode.json").write_text(json.dumps({"model": model or run_hash(run, "test")}))
        (decoded / "score.json").write_text(json.dumps({"scores": SCORES}))

    def export(self, *overrides: str) -> None:
        """As the command does."""
        args = parse(
            parser("test", ""),
            ["--task", "classification", "--exp", str(self.exp), "--data", "data", "seeds=3", *overrides],
        )
        cfg: DictConfig = compose(args)
        systems = [compose(args, *system_overrides(cfg, system, 0)) for system in cfg.systems]
        task_of(cfg).export(cfg, systems)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Nothing is trained yet."""
    made = Recipe(tmp_path / "exp")

    def note(model_dir: Path, out: Path, **given: Any) -> bool:
        made.asked[out] = {"model": model_dir, **given}
        return True

    monkeypatch.setattr("seqkd.tasks.classification.exporting.export_classifier", note)
    return made


def test_the_best_seed_of_every_trained_system(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, error in enumerate((0.3, 0.2, 0.25)):
        run = recipe.run("student", seed, error)
    unfinished = recipe.run("kd", 0, 0.1)
    (unfinished / "summary.json").unlink()
    recipe.run("kd", 2, 0.5)
    teacher = recipe.run("teacher", 2, 0.05)
    recipe.score(teacher)
    recipe.score(recipe.exp / "student" / "seed1")
    recipe.export("systems=[student,kd,vam]", "export.licence=CC0-1.0")
    exp = recipe.exp
    assert capsys.readouterr().out == (
        f"{exp}/student/export: written (seed1, dev error 20.00 %)\n"
        f"{exp}/kd/export: written (seed2, dev error 50.00 %)\n"
        f"{exp}/vam: not trained, so nothing is exported\n"
    )
    student, kd = (recipe.asked[exp / name / "export"] for name in ("student", "kd"))
    assert student["model"] == exp / "student" / "seed1" / "model" != run / "model"
    origin = student["origin"]
    assert (origin.system, origin.seed, origin.seeds, origin.dev_error, origin.clips) == ("student", 1, 3, 0.2, 12)
    assert origin.scores == {"test": SCORES} and origin.teachers == () and origin.licence == "CC0-1.0"
    assert student["tests"].names == ["test"] and student["own"] is True
    assert kd["origin"].scores == {} and kd["origin"].seeds == 1
    (taught,) = kd["origin"].teachers
    assert (taught.name, taught.seed) == ("teacher", 2)
    assert taught.hash == classifier_hash(teacher / "model") and taught.scores == {"test": SCORES}


def test_models_of_folds_are_refused(recipe: Recipe) -> None:
    recipe.run("student", 0, 0.2)
    with pytest.raises(ConfigError, match=r"^setting folds is 5, so that a run of .* has as many models, each for"):
        recipe.export("systems=[student]", "folds=5", "sets.test=[train]")
    assert recipe.asked == {}


def test_nothing_is_trained(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"exp has no finished system to export; run \./run\.sh --stage students$"):
        recipe.export("systems=[student]")
    assert capsys.readouterr().out == f"{recipe.exp}/student: not trained, so nothing is exported\n"


def test_scores_of_other_weights_are_refused(recipe: Recipe) -> None:
    run = recipe.run("student", 0, 0.2)
    recipe.score(run, model="another")
    with pytest.raises(DataError, match=r"decode_test was decoded with other weights than .*/model has; run "):
        recipe.export("systems=[student]")
    assert recipe.asked == {}
