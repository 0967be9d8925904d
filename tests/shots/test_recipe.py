"""The recipe's presets, scripts and stages; the smoke preset from nothing to its numbers is a test marked recipe."""

from __future__ import annotations

import re
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from seqkd.cli.main import main
from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides, system_settings
from seqkd.losses import CrossEntropy, Labels, Outputs, SoftTargets
from seqkd.losses.build import objective_of
from seqkd.settings import build
from seqkd.shots.audio.features import SongFeatureSettings
from seqkd.shots.model import Architecture, ShotNetwork
from seqkd.tasks.shots import TASK
from seqkd.tasks.shots.work import SongTraining
from seqkd.training.order import all_runs

ROOT = Path(__file__).parents[2]
PRESETS = sorted(ROOT.glob("egs/*/music2shot/conf/preset/*.yaml"))
SCRIPTS = sorted(ROOT.glob("egs/*/music2shot/run.sh"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: str(path.relative_to(ROOT / "egs")))
def test_presets_fit(preset):
    options = ["--task", "shots", "--conf", str(preset.parents[1]), "--preset", preset.stem]
    args = parse(parser("test", ""), options)
    cfg = compose(args)
    SongFeatureSettings(**cfg.features)
    build(SongTraining, OmegaConf.to_container(cfg.training), "training")
    Architecture(**OmegaConf.to_container(cfg.model))
    systems = dict(all_runs(TASK, cfg, partial(system_settings, cfg)))
    assert set(cfg.report.expect) <= set(systems)
    for system in systems:
        chosen = compose(args, *system_overrides(cfg, system, 0)).system
        assert chosen.name == system and chosen.control in (None, *systems)
        objective_of(OmegaConf.to_container(chosen.objective))
    if "sets" in cfg.corpus:
        sets = cfg.sets
        assert {sets.train, *sets.teacher, *cfg.unlabelled, sets.dev, *sets.test} == set(cfg.corpus.sets)


def test_the_published_hyperparameters_are_named_variants():
    cfg = compose(parse(parser("test", ""), ["--task", "shots"]))
    assert list(cfg.model.sizes) == [256, 128, 64] and cfg.training.lr == 1e-3
    for system in ("student_kd_printed", "dil_printed"):
        objective = compose(parse(parser("test", ""), ["--task", "music2shot", f"system={system}"])).system.objective
        assert objective.labels.weight == objective.kd.weight == 0.5 and objective.kd.temperature == 20.0
        assert objective.kd._target_ == "seqkd.losses.SoftTargets" and not objective.kd.scale_by_temperature
    assert (cfg.teacher.scale, cfg.teacher.prior_power) == (1.0, 1.0)
    fusions = {
        name: compose(parse(parser("test", ""), ["--task", "shots", f"system={name}"])).system.fusion
        for name in ("teacher", "teacher_printed")
    }
    assert fusions == {"teacher": "pool", "teacher_printed": "product"}


def test_the_default_teacher_moves_its_student():
    """Hard and soft gradients at the start of training: 500 : 1 as printed, of one size by default."""
    torch.manual_seed(0)
    soft = torch.randn(200, 8).mul(1.5).softmax(-1)
    targets = soft.multinomial(1)[:, 0]
    ratios = {}
    for system in ("student_kd", "student_kd_printed"):
        objective = compose(parse(parser("test", ""), ["--task", "shots", f"system={system}"])).system.objective
        norms = []
        for weights in ((objective.labels.weight, 0.0), (0.0, objective.kd.weight)):
            logits = torch.zeros(1, 1, 200, 8, requires_grad=True)
            length = torch.tensor([200])
            terms = (CrossEntropy(), SoftTargets(temperature=objective.kd.temperature))
            student = Outputs(logits, length)
            loss = weights[0] * terms[0](student, student, Labels(targets[None], length)).sum()
            loss = loss + weights[1] * terms[1](student, Outputs(soft.log()[None, None], length), None).sum()
            norms.append(torch.autograd.grad(loss, logits)[0].norm().item())
        ratios[system] = norms[0] / norms[1]
    assert 300 < ratios["student_kd_printed"] < 1500
    assert ratios["student_kd"] < 2


def test_the_paper_s_network_has_its_size():
    cfg = compose(parse(parser("test", ""), ["--task", "shots"]))
    network = ShotNetwork(Architecture(**OmegaConf.to_container(cfg.model)), 188)
    assert network.parameter_count() == pytest.approx(1.75e6, rel=0.01)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parts[-3])
def test_help_lists_stages_and_mistakes_are_one_sentence(script, tmp_path):
    run = lambda *a: subprocess.run([script, *a], cwd=tmp_path, capture_output=True, text=True, timeout=60)  # noqa: E731
    said = run("--help").stdout
    assert all(f"{number}  " in said for number in range(10))
    for arguments, says in (
        (["--sage", "1"], "run.sh: unknown option --sage; known: --stage --stop-stage"),
        (["--stop-stage", "10"], "run.sh: --stop-stage is '10'; expected a number from 0 to 9, or one of: corpus "),
        (["--preset", "huge"], "run.sh: there is no preset huge; known: default"),
    ):
        done = run(*arguments)
        assert done.returncode == 2 and done.stderr.startswith(says)


def test_a_template_without_a_source_says_so(tmp_path, capsys):
    conf = ROOT / "egs" / "TEMPLATE" / "music2shot" / "conf"
    options = ["--task", "shots", "--conf", str(conf), "--preset", "default", "--data", str(tmp_path)]
    assert main(["prepare", "corpus", *options]) == 1
    said = capsys.readouterr().err
    assert "corpus.source" in said and said.count("\n") == 1


@pytest.mark.recipe
def test_smoke(tmp_path):
    script = ROOT / "egs" / "synthetic_concerts" / "music2shot" / "run.sh"
    exp, data = tmp_path / "exp of mine", tmp_path / "data of mine"
    command = [script, "--preset", "smoke", "--exp", exp, "--data", data]
    run = lambda *a: subprocess.run([*command, *a], cwd=tmp_path, capture_output=True, text=True, timeout=3600)  # noqa: E731
    began = time.monotonic()
    done = run("--stop-stage", "export")
    print(f"{time.monotonic() - began:.0f} s")
    assert done.returncode == 0, done.stdout + done.stderr
    headings = re.findall(r"^== stage (\d+): (.*)$", done.stdout, re.MULTILINE)
    assert [number for number, _ in headings] == [str(number) for number in range(10)]
    reached = re.findall(r"^(\w+) on test: ([\d.]+) % ASC, must be at least ([\d.]+) %: reached$", done.stdout, re.M)
    assert {system for system, *_ in reached} == {"teacher", "dil"}
    text = (exp / "RESULTS.md").read_text(encoding="utf-8")
    assert "*The song known, each second by itself*" in text and "run.sh --preset smoke" in text
    assert (exp / "model" / "model.safetensors").is_file()
    before = {path: path.stat().st_mtime_ns for path in exp.rglob("*.safetensors") if path.parent.name != "model"}
    again = run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}
