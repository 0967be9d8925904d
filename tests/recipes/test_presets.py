"""Every preset of every recipe fits the settings there are, and the one nobody runs in a test can start."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides
from seqkd.data.features import FeatureSettings
from seqkd.layout import plain
from seqkd.losses.build import objective_of
from seqkd.models.ctc import CtcModel
from seqkd.tasks.asr import TASK, make_tokens
from seqkd.training.order import all_runs
from seqkd.training.run import train

ROOT = Path(__file__).parents[2]
PRESETS = sorted(ROOT.glob("egs/*/ctc_kd/conf/preset/*.yaml"))
LIBRISPEECH = ROOT / "egs/librispeech/ctc_kd"
FULL = ROOT / "egs/espeak_voices/ctc_kd/conf/preset/full.yaml"
MINIATURE = [
    *("features.sample_rate=8000", "features.num_mel_bins=20", "tokens.type=word"),
    *("student.train_set=train", "unlabelled=[extra]", "sets.test=[dev]", "book=live"),
    *(f"{role}.model.{size}" for role in ("teacher", "student") for size in ("width=24", "layers=2", "hidden=32")),
    *(f"{role}.training.{s}" for role in ("teacher", "student") for s in ("updates=1", "max_duration=8", "workers=0")),
]


@functools.cache  # the same system is asked for once a seed; nobody here changes what is returned
def settings(preset: Path, *overrides: str) -> DictConfig:
    conf = preset.parents[1]
    return compose(parse(parser("test", ""), ["--conf", str(conf), "--preset", preset.stem, *overrides]))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: str(path.relative_to(ROOT / "egs")))
def test_presets_fit(preset):
    cfg = settings(preset)
    named = {cfg.teacher.train_set, cfg.student.train_set, *cfg.unlabelled, cfg.sets.dev, *cfg.sets.test}
    if "TEMPLATE" in str(preset):
        assert named == {"train", "dev", "test"}
    else:
        assert named <= set(cfg.corpus.sets)
    for name in cfg.unlabelled:
        assert cfg.corpus.sets[name].transcripts is False
    systems = {
        system
        for system, _ in all_runs(TASK, cfg, lambda name: settings(preset, *system_overrides(cfg, name, 0)).system)
    }
    for system in systems:
        chosen = settings(preset, *system_overrides(cfg, system, 0))
        objective_of(plain(chosen.system.objective))
        assert chosen.system.control is None or chosen.system.control in systems or preset.stem != "study"
    assert set(cfg.report.expect) <= systems
    assert preset.stem != "smoke" or set(cfg.report.expect) == {"teacher", "cons_kd"}


@pytest.mark.parametrize(("role", "least", "most"), [("teacher", 20e6, 30e6), ("student", 4.5e6, 5.5e6)])
def test_full_preset_builds_its_models(role, least, most):
    cfg = settings(FULL)
    architecture = OmegaConf.to_container(cfg[role].model, resolve=True)
    assert architecture["encoder"] == "conformer"
    model = CtcModel(architecture, FeatureSettings(**cfg.features), cfg.tokens.vocab_size)
    assert least < model.parameter_count() < most
    assert f"{role}: # {model.parameter_count() / 1e6:.1f} M parameters" in FULL.read_text(encoding="utf-8")


def test_full_preset_makes_an_update_of_every_system(tones: Path, tmp_path: Path) -> None:
    options = ["--exp", str(tmp_path), "--data", str(tones), *MINIATURE]
    cfg = settings(FULL, *options)
    make_tokens(cfg)
    runs = all_runs(TASK, cfg, lambda name: settings(FULL, *options, f"system={name}").system)
    for system, seed in dict(runs).items():
        one = settings(FULL, *options, *system_overrides(cfg, system, seed))
        assert one[one.system.role].training.precision == "bf16-mixed"
        assert (train(TASK, one) / "summary.json").is_file()


@pytest.mark.parametrize(
    ("name", "millions"), [("conformer_5m", 5.0), ("conformer_10m", 10.2), ("conformer_30m", 30.6)]
)
def test_librispeech_students_have_the_sizes_they_are_named_after(name, millions):
    cfg = settings(LIBRISPEECH / "conf/preset/default.yaml", f"model@student.model={name}")
    architecture = OmegaConf.to_container(cfg.student.model, resolve=True)
    letters = 26 + 1 + 1 + 2  # apostrophe, boundary, blank and unknown
    model = CtcModel(architecture, FeatureSettings(**cfg.features), letters)
    assert round(model.parameter_count() / 1e6, 1) == millions
    said = (LIBRISPEECH / "conf/model" / f"{name}.yaml").read_text(encoding="utf-8")
    assert said.startswith(f"# {millions} M parameters with characters")
    assert "5.0, 10.2 and 30.6 M parameters" in (LIBRISPEECH / "RESULTS.md").read_text(encoding="utf-8")


def test_librispeech_presets_agree_on_what_does_not_depend_on_the_hours():
    small, full = (settings(LIBRISPEECH / f"conf/preset/{name}.yaml") for name in ("default", "full"))
    assert small.teacher.import_from == full.teacher.import_from == "hf:facebook/hubert-large-ls960-ft"
    assert small.student.model == full.student.model
    assert small.student.augment == full.student.augment
    for cfg in (small, full):
        # The published schedule of the consistency weight: 2,000 updates.
        preset = "default" if cfg is small else "full"
        system = settings(LIBRISPEECH / f"conf/preset/{preset}.yaml", *system_overrides(cfg, "cons_kd", 0)).system
        (_, zero), (share, weight) = system.objective.consistency.weight
        assert (zero, weight) == (0, 0.2)
        warmup = share * cfg.student.training.updates
        assert warmup == pytest.approx(2000, rel=0.02)
    assert {"tokens": small.tokens.word_boundary, "type": small.tokens.type} == {"tokens": "between", "type": "char"}
