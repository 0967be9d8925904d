"""Variants: systems of a preset that differ from a system's file in a few settings. They train, teach, are reported."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.cli.settings import parse, parser
from seqkd.config import compose, student_runs, system_overrides, system_settings, variants_of
from seqkd.errors import ConfigError
from seqkd.overrides import as_override
from seqkd.tasks import task_of
from seqkd.training.order import levels_of
from tests import clip_corpus

PRESET = """# @package _global_
systems: [student, few, soft]
dev_chosen:
  kd: [system.objective.kd.weight=0.8]
  soft: [system.objective.labels.weight=0.3]
variants:
  few:
    of: student
    label: "Two clips, it's few"
    control: student
    isolates: "how many clips: 8 less 2"
    examples: {shots: 2}
    with: [student.training.lr=0.02]
  soft:
    of: kd
    label: KD, softer
    control: few
    isolates: everything
    teacher: few
    views: [jda]
    objective:
      kd: {temperature: 8.0, weight: [[0, 0.5], [1, 0.9]]}
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The conf directory of a recipe with a preset of variants."""
    made = tmp_path / "conf"
    (made / "preset").mkdir(parents=True)
    (made / "preset" / "mine.yaml").write_text(PRESET)
    return made


def arguments(conf: Path | None, *overrides: str, task: str = "classification"):
    preset = ["--conf", str(conf), "--preset", "mine"] if conf else []
    return parse(parser("test", ""), ["--task", task, *preset, *overrides])


def test_a_variant_is_its_system_but_for_what_it_says(conf: Path) -> None:
    args = arguments(conf)
    cfg = compose(args)
    assert set(variants_of(cfg)) == {"few", "soft"}
    assert student_runs(cfg) == [("student", 0), ("few", 0), ("soft", 0)]
    plain, few, soft = (compose(args, *system_overrides(cfg, name, 3)) for name in ("student", "few", "soft"))
    assert (few.system.name, few.system.label, few.seed) == ("few", "Two clips, it's few", 3)
    assert few.system.isolates == "how many clips: 8 less 2"
    assert (few.system.examples.shots, few.student.training.lr) == (2, 0.02)
    assert {key for key in plain.system if plain.system[key] != few.system[key]} == {
        *("name", "label", "control", "isolates", "examples")
    }
    assert plain.student.training.lr != 0.02 and plain.system.examples.shots is None
    kd = soft.system.objective.kd
    assert (kd._target_, kd.distance, kd.temperature) == ("seqkd.losses.FrameKd", "kl", 8.0)
    assert kd.weight == [[0, 0.5], [1, 0.9]]  # its own, above what was chosen for the system that it is of
    assert soft.system.objective.labels.weight == 0.3  # what was chosen for itself is above all
    assert (soft.system.teacher, list(soft.system.views)) == ("few", ["jda"])


def test_its_settings_without_the_command_line_are_the_same(conf: Path) -> None:
    """By which runs are ordered, and systems listed."""
    cfg = compose(arguments(conf))
    soft = system_settings(cfg, "soft")
    assert (soft.name, soft.teacher, soft.objective.kd.temperature, soft.passes) == ("soft", "few", 8.0, 1)
    assert "of" not in soft and "with" not in system_settings(cfg, "few")
    levels = levels_of(task_of(cfg), cfg, partial(system_settings, cfg))
    assert levels == {"teachers": [[("few", 0)]], "students": [[("student", 0)], [("soft", 0)]]}


def test_it_may_come_from_the_command_line(conf: Path) -> None:
    name = "variants.bare={of: student, label: Bare, mixup: 0.5}"
    cfg = compose(arguments(None, name, "systems=[bare]"))
    assert compose(arguments(None, name), *system_overrides(cfg, "bare", 0)).system.mixup == 0.5
    others = {"asr": "kd", "translation": "uniform", "shots": "student"}  # every task has them
    for task, system in others.items():
        args = arguments(None, f"variants.mine={{of: {system}, label: Mine}}", "systems=[mine]", task=task)
        cfg = compose(args)
        assert compose(args, *system_overrides(cfg, "mine", 0)).system.name == "mine"


@pytest.mark.parametrize(
    "value",
    ["it's", 'a "quote"', "a: b, {c}", "", True, None, 3, 1e-5, [1, [2.5, "x y"]], {"a": [True], "b": None}, {}],
)
def test_values_survive_hydras_grammar(value: object) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(f"++key={as_override(value)}").value()
    plain = lambda one: (  # noqa: E731
        {key: plain(x) for key, x in one.items()} if isinstance(one, dict)
        else list(map(plain, one)) if isinstance(one, list)
        else one if one is None or isinstance(one, (bool, int, float)) else str(getattr(one, "text", one))
    )  # fmt: skip
    assert plain(parsed) == value


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("kd={of: student, label: X}", "setting variants.kd has the name of a system; give it another name"),
        ("mine=3", "setting variants.mine is 3; expected a mapping with 'of' and 'label'"),
        ("mine={of: student}", "setting variants.mine is {'of': 'student'}; expected a mapping with 'of' and 'label'"),
        ("mine={label: X}", "setting variants.mine is {'label': 'X'}; expected a mapping with 'of' and 'label'"),
        (
            "mine={of: studnt, label: X}",
            "setting variants.mine.of: there is no system 'studnt'; did you mean student?",
        ),
        ("mine={of: few, label: X}", "setting variants.mine.of: there is no system 'few'; did you mean few_kd?"),
        ("mine={of: kd, label: X, exampels: {}}", "there is no setting variants.mine.exampels; did you mean examples?"),
        (
            "mine={of: kd, label: X, with: 'a=1'}",
            "setting variants.mine.with is 'a=1'; expected a list such as [a=1,b=2]",
        ),
        (
            "mine={of: kd, label: X, with: [a]}",
            "setting variants.mine.with is ['a']; expected a list such as [a=1,b=2]",
        ),
    ],
)
def test_a_wrong_variant_is_one_sentence(variant: str, said: str, conf: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(arguments(conf, f"variants.{variant}"))
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        (
            "{of: kd, label: X, objective: {kd: {temprature: 2}}}",
            "system.objective.kd.temprature; did you mean temperat",
        ),
        ("{of: kd, label: X, examples: {shots: 0}}", "setting system.examples.shots is 0; expected at least 1"),
        ("{of: kd, label: X, teacher: nobody}", "setting system.teacher: there is no system 'nobody'; "),
        (
            "{of: kd, label: X, with: ['student.model.hiden=3']}",
            "there is no setting student.model.hiden; did you mean",
        ),
    ],
)
def test_what_a_variant_cannot_have_is_said_of_its_run(variant: str, said: str, conf: Path) -> None:
    args = arguments(conf, f"variants.mine={variant}")
    with pytest.raises(ConfigError) as caught:
        compose(args, *system_overrides(compose(args), "mine", 0))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_variants_are_trained_scored_listed_and_reported(
    conf: Path, clips_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seqkd.cli.train.run_jobs", lambda jobs, *_: [main(job.arguments) for job in jobs])
    exp = tmp_path / "exp"
    options = [*clip_corpus.arguments(exp, clips_data, "report.replicates=50"), "--conf", str(conf)]
    options += ["--preset", "mine"]
    for stage in (["train"], ["decode"], ["score", "--recipe"], ["report"]):
        assert main([*stage, *options]) == 0, stage
    summaries = {
        name: json.loads((exp / name / "seed0" / "summary.json").read_text()) for name in ("student", "few", "soft")
    }
    assert [(one["label"], one["clips"]) for one in summaries.values()] == [
        ("Student", 24), ("Two clips, it's few", 6), ("KD, softer", 24),
    ]  # fmt: skip
    report = (exp / "RESULTS.md").read_text()
    assert "| Two clips, it's few | Student (control) | " in report
    assert "| KD, softer | Two clips, it's few (control) | " in report
    capsys.readouterr()
    assert main(["systems", "--task", "classification", "--conf", str(conf), "--preset", "mine"]) == 0
    assert "| `soft` | KD, softer | `few` | everything |" in capsys.readouterr().out.splitlines()


def test_a_system_may_have_a_model_of_its_own(tmp_path: Path) -> None:
    """On top of it comes what preset and command line say of the model; another file there takes its place."""
    preset = tmp_path / "preset" / "mine.yaml"
    preset.parent.mkdir()
    preset.write_text(
        "# @package _global_\n"
        "student: {model: {width: 32}}\n"
        "variants: {ahead: {of: kd_stream, label: A, model: lookahead_conv, with: [student.model.lookahead=2]}}\n"
    )
    args = arguments(tmp_path, task="asr")
    cfg = compose(args)
    assert (cfg.student.model.encoder, cfg.system.model) == ("conv", None)
    found = {name: compose(args, *system_overrides(cfg, name, 0)) for name in ("kd_stream", "ahead")}
    assert {(one.student.model.encoder, one.student.model.width) for one in found.values()} == {
        ("chunk_conformer", 32),
        ("lookahead_conv", 32),
    }
    assert found["ahead"].student.model.lookahead == 2 and found["ahead"].teacher.model.encoder == "conv"
    other = compose(args, "system=kd_stream", "model@student.model=conformer")
    assert other.student.model.encoder == "conformer"
    with pytest.raises(ConfigError, match="there is no model/mine; known: chunk_conformer, conformer, conv"):
        compose(args, "system=kd_stream", "system.model=mine")
