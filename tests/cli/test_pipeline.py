"""Every command of a recipe, one after the other, on the tone corpus."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from seqkd.cli.job import Job
from seqkd.cli.jobs import run_jobs
from seqkd.cli.main import main
from seqkd.errors import SeqkdError
from tests.runs import arguments, train_here, train_process
from tests.tone_corpus import make_tone_set

SYSTEMS = ["student", "cons_kd"]


def stages(exp: Path, data: Path) -> list[list[str]]:
    book = ["book=dense", "book.seeds=2"]
    options = arguments(exp, data, "systems=[student,cons_kd]", "report.replicates=200", "decode.beam=1", *book)
    two = ["--nj", "2"]
    return [
        ["prepare", *options],
        ["train", "--group", "teachers", *options],
        ["check-teacher", *options],
        ["book", "make", *options, *two],
        ["train", *options, *two],
        ["decode", *options],
        ["score", "--recipe", *options],
        ["report", *options],
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(exp, data) after all stages."""
    root = tmp_path_factory.mktemp("pipeline")
    exp, data = root / "exp", root / "data"
    make_tone_set(data, "train", 24, seed=1)
    make_tone_set(data, "extra", 12, seed=2, transcripts=False)
    make_tone_set(data, "dev", 8, seed=3)
    for stage in stages(exp, data):
        assert main(stage) == 0, stage[:2]
    return exp, data


def files(*roots: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for root in roots for path in root.rglob("*") if path.is_file()}


def test_every_file_of_the_contract_is_there(finished: tuple[Path, Path]) -> None:
    exp, data = finished
    for system in ("teacher", *SYSTEMS):
        run = exp / system / "seed0"
        for name in ("config.yaml", "summary.json", "history.json"):
            assert (run / name).stat().st_size > 0
        assert sorted(path.name for path in (run / "model").iterdir()) == [
            "model.safetensors", "model.yaml", "tokenizer.json", "tokenizer.model",
        ]  # fmt: skip
        assert not (run / "checkpoints").exists()
        hypotheses = (run / "decode_dev" / "text").read_text().splitlines()
        references = (data / "dev" / "text").read_text().splitlines()
        assert [line.split()[0] for line in hypotheses] == [line.split()[0] for line in references]
        trn = (run / "decode_dev" / "hyp.trn").read_text().splitlines()
        assert [line.rpartition("(")[2].rstrip(")") for line in trn] == [line.split()[0] for line in references]
        assert [" ".join(line.split()[:-1]) for line in trn] == [" ".join(line.split()[1:]) for line in hypotheses]
        (scored,) = json.loads((run / "decode_dev" / "score.json").read_text())["systems"].values()
        summary = json.loads((run / "summary.json").read_text())
        assert scored["wer"]["rate"] == pytest.approx(summary["best_dev_wer"])  # the test set here is dev
        assert summary["steps"] == json.loads((run / "history.json").read_text())["rows"][-1]["step"] == 12
    assert (exp / "teacher" / "check.json").is_file()
    assert (exp / "teacher" / "check.png").is_file()
    assert not [path for path in files(exp, data) if path.name.startswith(".tmp")]


def test_the_report_is_there_with_its_figures(finished: tuple[Path, Path]) -> None:
    exp, _ = finished
    report = (exp / "RESULTS.md").read_text()
    for part in ("| Teacher |", "| Student, no teacher |", "| Cons-KD |", "seqkd report", "## Origin"):
        assert part in report
    figures = sorted(path.name for path in (exp / "figures").glob("*.png"))
    assert figures == ["losses.png", "passes.png", "posteriors.png", "scores.png", "training.png"]
    assert all(f"](figures/{name})" in report for name in figures)


def test_systems_learned_from_what_they_should(finished: tuple[Path, Path]) -> None:
    exp, _ = finished
    rows = {s: json.loads((exp / s / "seed0" / "history.json").read_text())["rows"][0]["train"] for s in SYSTEMS}
    assert rows["student"].keys() == {"total", "ctc"}
    assert rows["cons_kd"].keys() == {"total", "ctc", "kd", "consistency"}
    assert json.loads((exp / "cons_kd" / "seed0" / "summary.json").read_text())["passes"] == 2


def run_here(jobs: list[Job], limit: int, later: int = 0) -> None:
    """In place of processes, which take seconds to start."""
    assert all(main(job.arguments) == 0 for job in jobs)


def test_a_second_pass_changes_nothing(finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqkd.cli.train.run_jobs", run_here)
    exp, data = finished
    before = files(exp, data)
    for stage in stages(exp, data):
        assert main(stage) == 0, stage[:2]
    changed = {path.relative_to(exp.parent) for path, when in files(exp, data).items() if before.get(path) != when}
    # Only what says how things stand now is written anew.
    again = {"exp/RESULTS.md", "exp/RESULTS.json", "exp/teacher/check.json", "exp/teacher/check.png"}
    again |= {f"exp/figures/{name}.png" for name in ("losses", "passes", "posteriors", "scores", "training")}
    assert {str(path) for path in changed} <= again
    assert files(exp, data).keys() == before.keys()


def test_beam_search_decodes_anew_and_scores_anew(
    finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    exp, data = finished
    options = arguments(exp, data, "systems=[student]", "decode.beam=4")
    decoded = exp / "student" / "seed0" / "decode_dev"
    before = files(decoded)
    assert main(["decode", *options]) == 0
    assert json.loads((decoded / "decode.json").read_text())["beam"] == 4
    after = files(decoded)
    assert all(after[decoded / name] > before[decoded / name] for name in ("text", "hyp.trn", "decode.json"))
    capsys.readouterr()
    assert main(["score", "--recipe", *options]) == 0
    assert "student seed 0" in capsys.readouterr().out
    assert files(decoded)[decoded / "score.json"] > before[decoded / "score.json"]


def test_expected_numbers_are_checked(finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    exp, data = finished
    options = arguments(exp, data, "systems=[student]", "report.replicates=200")
    assert main(["report", *options, "+report.expect.student=1000"]) == 0
    assert "must be at most 1000 %: reached" in capsys.readouterr().out
    assert main(["report", *options, "+report.expect.student=-1"]) == 1
    assert capsys.readouterr().err.endswith("% WER on dev; this preset must reach at most -1 %\n")


def test_files_are_scored_without_a_recipe(finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    exp, data = finished
    decoded = exp / "teacher" / "seed0" / "decode_dev"
    out = exp.parent / "mine.json"
    hypotheses = ["--hyp", f"one={decoded / 'text'}", "--hyp", f"two={decoded / 'hyp.trn'}"]
    assert main(["score", "--ref", str(data / "dev" / "text"), *hypotheses, "--json", str(out)]) == 0
    assert "one − two: +0.00 points" in capsys.readouterr().out
    assert json.loads(out.read_text())["systems"].keys() == {"one", "two"}


def test_a_failing_job_ends_in_its_sentence(finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    exp, data = finished
    options = arguments(exp, data, "systems=[student]", "seeds=2", "+dev_chosen.student=['student.training.lrr=1']")
    assert main(["train", *options]) == 1
    assert capsys.readouterr().err == (
        "seqkd train: student seed 0: there is no setting student.training.lrr; did you mean student.training.lr? "
        f"(log: {exp}/student/seed0.log)\n"
    )


def test_a_job_that_breaks_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(SeqkdError) as caught:
        run_jobs([Job("mine", ["nonsense"], tmp_path / "log")], limit=1)
    first, *rest = str(caught.value).splitlines()
    assert first == f"mine failed with status 2; {tmp_path}/log ends in:"
    assert rest[-1].startswith("seqkd: error: argument COMMAND: invalid choice: 'nonsense'")


def test_a_mistake_in_the_settings_does_not_cost_a_finished_run(finished: tuple[Path, Path]) -> None:
    exp, data = finished
    before = files(exp / "student")
    assert main(["train", "--one", *arguments(exp, data, "system=student", "student.model.kernel=4")]) == 1
    assert files(exp / "student") == before


@pytest.mark.timeout(170)
def test_ctrl_c_stops_a_run_that_can_carry_on(finished: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    exp, data = finished
    options = ("student.training.updates=200", "student.training.validate_every=10", "seed=7")
    run = exp / "student" / "seed7"
    process = train_process(exp, data, "student", *options)
    deadline = time.monotonic() + 120
    while not list((run / "checkpoints").glob("resume-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output = process.wait(timeout=120)
    assert process.poll() == 1
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    assert last.startswith(f"seqkd train: {run} was interrupted at update ")
    assert last.endswith("; run it again to carry on")
    assert not (run / "summary.json").exists()
    with caplog.at_level("INFO"):
        train_here(exp, data, "student", *options)
    assert f"{run}: resuming at update " in caplog.text
    assert (run / "summary.json").is_file()
