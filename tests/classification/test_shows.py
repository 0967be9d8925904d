"""What the entries of ``shows`` print: values, gains after Holm's correction, and the settings that dev chooses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seqkd.classification.measures import ACCURACY
from seqkd.experiment.read import Experiment, Run, System
from seqkd.statistics.table import Table
from seqkd.task import Monitor
from seqkd.tasks.classification import shows

SEEDS = 4
CLIPS = 200


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """Five systems of known accuracy; dev orders the tries of each method otherwise than test does."""
    systems = {}
    for name, (accuracy, dev) in {
        "kd_1": (0.50, 0.4),
        "kd_2": (0.60, 0.5),
        "better_1": (0.70, 0.4),
        "better_2": (0.65, 0.3),
        "equal": (0.50, 0.9),
    }.items():
        runs = []
        for seed in range(SEEDS):
            right = np.arange(CLIPS) < accuracy * CLIPS
            right = np.roll(right, seed)  # a seed differs from the next in one clip at either end
            table = Table(tuple(f"clip{i}" for i in range(CLIPS)), {"right": right * 1.0, "positions": np.ones(CLIPS)})
            history = [{"step": 1, "dev_error": 0.99}, {"step": 2, "dev_error": dev}, {"step": 3, "dev_error": 0.95}]
            runs.append(Run(seed, Path(name), {}, history, {}, {"test": table}))
        systems[name] = System(name, name, None, None, runs, [])
    task = SimpleNamespace(
        measures=(ACCURACY,), further=(), monitor=Monitor("dev_error", "dev error"), baseline=None, items="clips"
    )
    return Experiment(task, systems, ["test"], replicates=500)


def entry(experiment: Experiment, folder: Path, **show: object) -> str:
    cfg = SimpleNamespace(shows=[{"title": "T", "claim": "C", "x": "τ", **show}])
    return "\n".join(shows.sections(cfg, experiment, folder))


def test_dev_chooses_and_test_compares(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shows, "plain", lambda entries: entries)
    curves = {"KD": [[1, "kd_1"], [2, "kd_2"]], "Better": [[1, "better_1"], [2, "better_2"]]}
    text = entry(experiment, tmp_path, tries=True, curves=curves)
    assert "Of 2 tries of **KD** dev chooses 1: 50.00 [" in text
    # Not at 1, which is better on test: nobody may look there to choose.
    assert "Of 2 tries of **Better** dev chooses 2: 65.00 [" in text
    assert "+15.00 points against **KD** at 1 (p = .004)" in text
    assert "dev chooses" not in entry(experiment, tmp_path, curves=curves)
    curves["Better"].pop()
    unequal = entry(experiment, tmp_path, tries=True, curves=curves)
    assert "dev chooses 1: 70.00" in unequal and "against" not in unequal


def test_a_gain_is_shown_after_holms_correction(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shows, "plain", lambda entries: entries)
    gain, none = [0.1, "better_1", "kd_1"], [0.5, "equal", "kd_1"]
    text = entry(experiment, tmp_path, curves={"A": [gain, none]})
    assert "+20.00 [" in text and "p = .004 †" in text
    assert "**A**: a gain is shown at 0.1." in text
    # Least p is 2 / 501: of thirteen points none can be below .05 / 13.
    many = entry(experiment, tmp_path, curves={"A": [[i, *gain[1:]] for i in range(13)]})
    assert "†" not in many and "**A**: no gain is shown." in many
    losses = entry(experiment, tmp_path, curves={"A": [[1, "kd_1", "better_1"]]})
    assert "**A**: no gain is shown; a loss is shown at 1." in losses
