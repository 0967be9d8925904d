"""The seq2seq recipes: presets fit; the smoke presets from nothing to the numbers they must reach (marked recipe)."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides
from seqkd.layout import plain
from seqkd.losses.build import objective_of
from seqkd.models.seq2seq import Seq2SeqModel
from seqkd.stages import STAGES
from seqkd.tasks.translation import TASK
from seqkd.training.order import all_runs

ROOT = Path(__file__).parents[2]
PRESETS = sorted(ROOT.glob("egs/*/seq2seq_ls/conf/preset/*.yaml"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: str(path.relative_to(ROOT / "egs")))
def test_presets_fit(preset: Path) -> None:
    options = ["--task", "translation", "--conf", str(preset.parents[1]), "--preset", preset.stem]
    args = parse(parser("test", ""), [*options, "corpus.source=x"] if "TEMPLATE" in str(preset) else options)
    cfg = compose(args)
    # Once a system, not once a seed.
    system_of = functools.cache(lambda name: compose(args, *system_overrides(cfg, name, 0)).system)
    systems = dict(all_runs(TASK, cfg, system_of))
    assert set(cfg.report.expect) <= set(systems)
    assert cfg.report.baseline in systems
    for system in systems:
        chosen = compose(args, *system_overrides(cfg, system, 0))
        objective_of(plain(chosen.system.objective))
        assert chosen.system.control in (None, *systems) or preset.stem == "smoke"
        architecture = OmegaConf.to_container(chosen[chosen.system.role].model, resolve=True)
        assert Seq2SeqModel(architecture, 300).parameter_count() > 10_000
    assert preset.stem != "smoke" or {"none", "adaptive"} <= set(cfg.report.expect)


@dataclass
class Finished:
    """A smoke run that went through; the names of its directories hold a space."""

    script: Path
    folder: Path
    output: str = ""
    seconds: float = 0.0

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        places = ["--exp", self.folder / "exp of mine", "--data", self.folder / "data of mine"]
        command = [self.script, "--preset", "smoke", *places, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=3600)


@pytest.fixture(scope="module", params=["dates_en_de", "manpages_en_de"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Skips, with the reason, where the corpus cannot be had."""
    made = Finished(ROOT / "egs" / request.param / "seq2seq_ls" / "run.sh", tmp_path_factory.mktemp(request.param))
    began = time.monotonic()
    done = made.run()
    made.output, made.seconds = done.stdout, time.monotonic() - began
    if done.returncode and "could not be fetched" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{request.param}: {made.seconds:.0f} s")
    return made


@pytest.mark.recipe
def test_every_stage_runs_and_the_numbers_are_reached(finished: Finished) -> None:
    headings = re.findall(r"^== stage (\d+): (.*)$", finished.output, re.MULTILINE)
    assert headings == [(str(number), title) for number, title in enumerate(STAGES[:-1])]
    reached = re.findall(
        r"^(\w+) on test: [\d.]+ (BLEU|NLL), must be at (least|most) .*: reached$", finished.output, re.M
    )
    assert {"none", "adaptive"} <= {system for system, *_ in reached}
    results = (finished.folder / "exp of mine" / "RESULTS.md").read_text(encoding="utf-8")
    assert "| No smoothing |" in results
    figures = re.findall(r"!\[.+\]\((.+\.png)\)", results)
    assert len(figures) >= 4
    assert all((finished.folder / "exp of mine" / figure).stat().st_size > 5000 for figure in figures)


@pytest.mark.recipe
def test_nobody_is_surer_than_a_perfect_model(finished: Finished) -> None:
    """On dates the least loss that any model can reach is known: no system may beat it by more than chance."""
    if "dates" not in str(finished.script):
        pytest.skip("known for the made-up corpus only")
    origin = json.loads((finished.folder / "data of mine" / "origin.json").read_text(encoding="utf-8"))
    least = origin["least_nll_per_pair"]["test"]
    for system in ("none", "adaptive"):
        path = finished.folder / "exp of mine" / system / "seed0" / "decode_test" / "forced.npz"
        with np.load(path, allow_pickle=False) as forced:
            assert forced["nll"].sum() / len(forced["ids"]) > 0.8 * least


@pytest.mark.recipe
def test_a_second_run_skips_everything(finished: Finished) -> None:
    if "dates" not in str(finished.script):
        pytest.skip("the driver is the same: tested with dates_en_de")
    results = (".safetensors", ".jsonl", ".npz", ".json")
    # A run that is done is not given a process, and so no log, of its own either.
    kept = [path for path in finished.folder.rglob("*") if path.suffix in results or path.match("seed*.log")]
    assert any(path.suffix == ".log" for path in kept)
    before = {path: path.stat().st_mtime_ns for path in kept}
    again = finished.run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == before
