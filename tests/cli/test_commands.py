from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.cli.main import COMMANDS, main
from seqkd.cli.settings import parse, parser
from seqkd.config import CONF, compose

EXPENSIVE = {"torch", "hydra", "omegaconf", "numpy", "lightning", "torchaudio", "lhotse", "yaml", "jiwer", "rapidfuzz"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seqkd.cli.main", *arguments], capture_output=True, text=True, timeout=60
    )


def imported_by(code: str) -> set[str]:
    code = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("argv", ["['--help']", "[]", "['--version']", "['train', '--help']", "['score', '--help']"])
def test_help_imports_nothing_that_takes_time(argv: str) -> None:
    found = imported_by(f"from seqkd.cli.main import main; main({argv})")
    assert "seqkd" in found
    assert not found & EXPENSIVE


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert run().stdout == done.stdout
    here = {path.stem for path in (Path(__file__).parents[2] / "seqkd" / "cli").glob("*.py")}
    assert {name.replace("-", "_") for name in COMMANDS} <= here


@pytest.mark.parametrize("command", [*COMMANDS, "score --recipe"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: seqkd {command}")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "seqkd: error: argument COMMAND: invalid choice: 'trian' (choose from"),
        (["train", "--sedes", "3"], "seqkd train: error: unrecognized arguments: --sedes"),
        (["decode", "beam"], "seqkd decode: error: 'beam' is neither an option nor a key=value setting"),
        (["train", "--nj", "0"], "seqkd train: error: --nj must be at least 1 and --ngpu at least 0"),
        (["train", "--nj", "many"], "seqkd train: error: argument --nj: invalid int value: 'many'"),
        (["prepare", "tokens", "--task", "x"], "seqkd prepare: error: argument --task: invalid choice: 'x'"),
        (["train", "--group", "pupils"], "seqkd train: error: argument --group: invalid choice: 'pupils' (choose from"),
        (["score"], "seqkd score: error: the following arguments are required: --ref, --hyp"),
    ],
)
def test_a_wrong_command_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    *usage, last = capsys.readouterr().err.splitlines()
    assert last.startswith(message)
    assert usage[0].startswith("usage: seqkd")


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for part in ("Python 3.", "libraries", "torch ", "lhotse", "programs", "devices", "CPU ", "compiled parts"):
        assert part in out


def test_doctor_says_how_to_get_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    for missing, status in (("lhotse", 0), ("rapidfuzz", 1)):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, missing=missing: None if name == missing else find(name)
        )
        assert main(["doctor"]) == status
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  {missing} ")]
        assert "MISSING" in line and "pip install" in line


def test_doctor_does_not_advise_what_cannot_be_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "flashlight" else find(name))
    for version, advice in (((3, 12), "pip install 'seqkd[lm]'"), ((3, 13), "no wheel for Python 3.13")):
        monkeypatch.setattr(sys, "version_info", (*version, 0))
        assert main(["doctor"]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  flashlight-text ")]
        assert advice in line


def test_a_missing_library_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra", None)  # as if it were not installed
    assert main(["train"]) == 1
    assert capsys.readouterr().err == (
        "seqkd train: needs hydra, which is not installed; "
        "install the recipes' libraries: pip install 'seqkd[recipes]'\n"
    )


def test_ctrl_c_is_one_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("seqkd.cli.doctor.main", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "seqkd doctor: interrupted; run it again to carry on\n"


def composed(*argv: str) -> object:
    return compose(parse(parser("test", ""), [*argv]))


def test_settings_win_in_order(tmp_path: Path) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(
        "# @package _global_\ntitle: mine\nseeds: 3\nteacher: {training: {lr: 0.5}}\n"
    )
    assert composed().seeds == 1
    cfg = composed(
        "--conf", str(tmp_path), "--preset", "mine", "student.training.lr=0.25", "--exp", "a b/c'd=e", "nj=3"
    )
    assert (cfg.seeds, cfg.title, cfg.exp, cfg.nj) == (3, "mine", "a b/c'd=e", 3)
    assert (cfg.teacher.training.lr, cfg.student.training.lr) == (0.5, 0.25)  # an anchor in YAML is not a link
    assert cfg.tokens.directory == "a b/c'd=e/tokens"
    assert composed("--conf", str(tmp_path), "--preset", "mine", "seeds=5").seeds == 5


@pytest.mark.parametrize(
    "override", ["student.training.lr=1", "decode.beam=4", "unlabelled=[]", "teacher.import_from=x"]
)
def test_values_of_the_right_kind(override: str) -> None:
    composed(override)


SYSTEMS = [
    (folder.name, file.stem)
    for folder in sorted(CONF.iterdir())
    if folder.is_dir()
    for file in sorted((folder / "system").glob("*.yaml"))
]


@pytest.mark.parametrize(("task", "name"), SYSTEMS)
def test_every_system_composes(task: str, name: str) -> None:
    """Its objective builds, and whoever it learns from, is compared with and is trained by exists."""
    from seqkd.layout import plain
    from seqkd.losses.build import imported, objective_of
    from seqkd.tasks import task_of
    from seqkd.tasks.shots.settings import FROM_DIRECTOR

    of_task = {system for kind, system in SYSTEMS if kind == task}
    cfg = composed("--task", task, *["classes.subset=0.5"] * (task == "classification"), f"system={name}")
    system = cfg.system
    assert system.name == name and system.label and system.passes >= 1
    assert system.control is None or (system.control in of_task - {name} and system.isolates)
    objective = objective_of(plain(system.objective))
    assert len(objective) >= 1
    taught = system.teacher or system.procedure == FROM_DIRECTOR
    assert "teacher" not in objective.sources() or taught, "a term looks at a teacher, and nobody is it"
    teachers = {teacher for teacher, _ in task_of(cfg).teachers_of(cfg, system, 0)}
    assert teachers <= of_task - {name}
    assert system.teacher is None or teachers
    assert all(term.passes <= system.passes for term in objective.values() if not term.off)
    assert callable(imported(system.procedure, "procedure"))
    if "teacher" in cfg and "model" in cfg.teacher:  # whose settings count
        assert system.role in ("teacher", "student") and "training" in cfg[system.role]
