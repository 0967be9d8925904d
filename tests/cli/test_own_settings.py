"""A recipe's own systems and models, keys that no file names, and the tasks' old names."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.cli.settings import parse, parser
from seqkd.config import CONF, TASKS, compose, student_runs, system_settings, systems_of
from seqkd.errors import ConfigError
from seqkd.tasks.translation import TASK
from seqkd.training.order import levels_of
from tests import pairs_corpus, runs

MINE = """
defaults:
  - kd
  - _self_

name: mine
label: KD, half the weight
control: kd
isolates: the weight
objective:
  kd:
    weight: 0.5
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The conf directory of a recipe with a system ``mine`` and a model ``small``."""
    made = tmp_path / "my recipe" / "conf"
    for folder in ("system", "model", "preset"):
        (made / folder).mkdir(parents=True)
    (made / "system" / "mine.yaml").write_text(MINE)
    (made / "model" / "small.yaml").write_text(
        "encoder: conv\nwidth: 16\nlayers: 1\nhidden: 16\nkernel: 3\ndropout: 0.0\nsubsampling_channels: 4\n"
    )
    (made / "preset" / "default.yaml").write_text("# @package _global_\nsystems: [kd, mine]\n")
    return made


def composed(conf: Path | None, *overrides: str, task: str = "asr"):
    where = ["--conf", str(conf)] if conf else []
    return compose(parse(parser("test", ""), ["--task", task, *where, *overrides]))


def sentence(conf: Path | None, *overrides: str, task: str = "asr") -> str:
    with pytest.raises(ConfigError) as caught:
        composed(conf, *overrides, task=task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_own_system_is_found_and_builds_on_one_of_the_package(conf):
    cfg = composed(conf, "--preset", "default", "system=mine", "seeds=2")
    assert (cfg.system.objective.kd.weight, cfg.system.objective.kd.distance, cfg.system.label) == (
        0.5, "squared", "KD, half the weight",
    )  # fmt: skip
    assert student_runs(cfg) == [("kd", 0), ("kd", 1), ("mine", 0), ("mine", 1)]
    assert {"mine", "kd", "student"} <= set(systems_of(cfg))
    assert system_settings(cfg, "mine").objective.kd.weight == 0.5
    assert composed(conf, "model@student.model=small").student.model.width == 16


@pytest.mark.parametrize("task", TASKS)
def test_systems_are_listed_from_their_files(task: str, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--conf", str(conf)] if task == "asr" else []
    assert main(["systems", "--task", task, *own]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    names = [path.stem for path in sorted((CONF / task / "system").glob("*.yaml"))]
    assert [row[0] for row in rows] == [f"| `{name}`" for name in [*names, *["mine"] * bool(own)]]
    assert rows[-1][1:] == ["KD, half the weight", "`kd`", "the weight |"] or not own


def test_an_own_system_that_is_wrong_is_one_sentence(conf):
    assert sentence(conf, "systems=[mien]").startswith("there is no system 'mien'; did you mean mine? known: ")
    path = conf / "system" / "mine.yaml"
    path.write_text(MINE.replace("name: mine\n", ""))
    assert sentence(conf) == f"{path} has name None; expected a line 'name: mine'"
    path.write_text(MINE.replace("label: KD, half the weight\n", ""))
    assert sentence(conf) == f"{path} has label None; expected a line 'label: what tables are to call it'"
    path.write_text("name: [\n")
    assert sentence(conf).startswith(f"{path} cannot be read (")
    path.rename(conf / "system" / "kd.yaml")
    assert (
        sentence(conf)
        == f"{conf / 'system' / 'kd.yaml'} has the name of a system of seqkd itself; give it another name"
    )


def test_an_own_system_of_translation_has_its_teacher_trained_first(conf):
    (conf / "system" / "mine.yaml").write_text(MINE.replace("  - kd\n", "  - word_kd\n"))
    cfg = composed(conf, "systems=[mine]", task="translation")
    levels = levels_of(TASK, cfg, partial(system_settings, cfg))
    assert levels == {"teachers": [[("teacher", 0)]], "students": [[("mine", 0)]]}
    said = sentence(conf, "system=mine", "system.teacher=teechr", task="translation")
    assert said.startswith("setting system.teacher: there is no system 'teechr'; did you mean teacher?")


def test_keys_of_open_mappings_need_no_plus(conf):
    cfg = composed(conf, "report.expect.kd=12.5", "dev_chosen.mine=[system.objective.kd.distance\\=kl]")
    assert cfg.report.expect.kd == 12.5 and list(cfg.dev_chosen.mine) == ["system.objective.kd.distance=kl"]
    (conf / "model" / "small.yaml").write_text("encoder: conv\nwidth: 16\n")
    sizes = [f"student.model.{one}" for one in ("layers=1", "hidden=16", "kernel=3", "dropout=0.0")]
    cfg = composed(conf, "model@student.model=small", *sizes, "student.model.subsampling_channels=4")
    assert cfg.student.model.layers == 1
    cfg = composed(
        conf, "+corpus={_target_: seqkd.corpora.text.dates.make_corpus}", "corpus.seed=3", task="translation"
    )
    assert cfg.corpus.seed == 3


def test_typos_in_open_mappings_are_still_found(conf):
    assert sentence(conf, "system.objective.kd.wieght=1") == (
        "there is no setting system.objective.kd.wieght; did you mean weight?"
    )
    assert sentence(conf, "student.model.heads=4") == (
        "setting student.model.heads does not belong to what model= or system= chose"
    )
    assert sentence(conf, "student.model.widht=4") == (
        "there is no setting student.model.widht; did you mean student.model.width?"
    )
    assert sentence(conf, "dev_chosen.mien=[seed\\=1]").startswith(
        "dev_chosen: there is no system 'mien'; did you mean mine?"
    )
    assert sentence(conf, "dev_chosen.mine=3") == "setting dev_chosen.mine is 3; expected a list such as [a=1,b=2]"


@pytest.mark.parametrize(("old", "new"), [("ctc_kd", "asr"), ("seq2seq_ls", "translation"), ("music2shot", "shots")])
def test_old_names_of_tasks_are_accepted(old, new, capsys):
    args = parse(parser("test", ""), ["--task", old])
    assert compose(args).task == new
    assert capsys.readouterr().err == (
        f"seqkd: the task {old} is now called {new}; the old name goes with the next release\n"
    )


def test_old_modules_of_tasks_are_accepted():
    with pytest.warns(DeprecationWarning, match="seqkd.tasks.ctc_kd is now seqkd.tasks.asr"):
        import seqkd.tasks.ctc_kd as old
    from seqkd.tasks import asr

    assert old is asr


def test_an_own_system_is_trained_scored_and_reported(conf, tones, tone_exp, tmp_path, monkeypatch):
    def here(jobs, limit, later):
        assert all(main(job.arguments) == 0 for job in jobs)

    monkeypatch.setattr("seqkd.cli.train.run_jobs", here)
    exp = tmp_path / "exp"
    options = runs.arguments(exp, tones, "systems=[kd,mine]", f"teacher.exp='{tone_exp}'", "report.replicates=100")
    options = ["--conf", str(conf), *options, f"tokens.directory='{tone_exp}/tokens'"]
    (exp / "teacher").parent.mkdir()
    (exp / "teacher").symlink_to(tone_exp / "teacher")
    for stage in (["train", "--group", "students"], ["decode"], ["score", "--recipe"], ["report"]):
        assert main([*stage, *options]) == 0, stage
    summary = json.loads((exp / "mine" / "seed0" / "summary.json").read_text())
    assert summary["system"] == "mine"
    report = (exp / "RESULTS.md").read_text()
    assert "| KD, half the weight |" in report and "| KD |" in report


def test_an_own_system_of_translation_is_trained(conf, tmp_path):
    data = pairs_corpus.make_corpus(tmp_path / "data")
    (conf / "system" / "mine.yaml").write_text(
        "defaults: [uniform, _self_]\nname: mine\nlabel: Mine\ncontrol: uniform\n"
        "objective: {labels: {smoothing: 0.3}}\n"
    )
    options = ["--conf", str(conf), *pairs_corpus.arguments(tmp_path / "exp", data, "systems=[mine]")]
    assert main(["prepare", *options]) == 0
    assert main(["train", *options]) == 0
    assert "smoothing: 0.3" in (tmp_path / "exp" / "mine" / "seed0" / "config.yaml").read_text()
