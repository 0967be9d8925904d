"""Each recipe's smoke preset, from nothing to the numbers it must reach."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from seqkd.stages import STAGES

ROOT = Path(__file__).parents[2]
UNFETCHED = re.compile("The (Asterisk prompts|Fish Fillets recordings) could not be fetched")
ON_DEMAND = pytest.mark.skipif(
    not os.environ.get("SEQKD_SMOKE"), reason="on demand: SEQKD_SMOKE=1 pytest tests/recipes/test_smoke.py -k fillets"
)

pytestmark = pytest.mark.recipe


@dataclass
class Recipe:
    """A recipe and where this test has it write; the names of both directories hold a space."""

    script: Path
    folder: Path

    @property
    def exp(self) -> Path:
        return self.folder / "exp of mine"

    @property
    def data(self) -> Path:
        return self.folder / "data of mine"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.script, "--preset", "smoke", "--exp", self.exp, "--data", self.data, *arguments]
        # From elsewhere: a recipe must not depend on where it is called.
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=3600)

    def systems(self) -> list[str]:
        return sorted(path.name for path in self.exp.iterdir() if (path / "seed0").is_dir())


@dataclass
class Finished(Recipe):
    output: str
    seconds: float


@pytest.fixture(
    scope="module",
    params=["espeak_voices", "asterisk_prompts", pytest.param("fillets_dialogues", marks=ON_DEMAND)],
)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A smoke run that went through. Skips, with the reason, where the corpus cannot be had."""
    script = ROOT / "egs" / request.param / "ctc_kd" / "run.sh"
    recipe = Recipe(script, tmp_path_factory.mktemp(request.param))
    began = time.monotonic()
    done = recipe.run()
    seconds = time.monotonic() - began
    if UNFETCHED.search(done.stderr) and done.returncode:
        reason = next(line for line in done.stderr.splitlines() if UNFETCHED.search(line))
        print(f"skipped: {reason}")
        pytest.skip(reason)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{request.param}: {seconds:.0f} s")
    return Finished(script, recipe.folder, done.stdout, seconds)


@pytest.fixture
def once(finished: Finished) -> Finished:
    """The first recipe alone, for what the driver does alike in all of them."""
    if "espeak" not in str(finished.script):
        pytest.skip("the driver is the same: tested with espeak_voices")
    return finished


def snapshot(*folders: Path) -> dict[Path, int]:
    """Time of last change of every file, except of those that say how things stand and are written each time."""
    again = ("RESULTS.md", "check.json", ".png", ".log", ".lock")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in files if not path.name.endswith(again)}


def test_every_stage_runs_and_the_numbers_are_reached(finished: Finished) -> None:
    headings = re.findall(r"^== stage (\d+): (.*)$", finished.output, re.MULTILINE)
    assert headings == [(str(number), title) for number, title in enumerate(STAGES[:-1])]
    reached = re.findall(
        r"^(\w+) on \w+: ([\d.]+) % (?:WER|CER), must be at most ([\d.]+) %: reached$", finished.output, re.M
    )
    assert {system for system, *_ in reached} == {"teacher", "cons_kd"}
    assert all(float(wer) <= float(limit) for _, wer, limit in reached)


def test_results_figures_and_hypotheses_are_there(finished: Finished) -> None:
    results = (finished.exp / "RESULTS.md").read_text(encoding="utf-8")
    assert all(f"| {label} |" in results for label in ("Teacher", "Student, no teacher", "Cons-KD"))
    assert "run.sh --preset smoke" in results
    figures = re.findall(r"!\[.+\]\((.+\.png)\)", results)
    assert figures
    assert all((finished.exp / figure).stat().st_size > 5000 for figure in figures)
    assert (finished.exp / "teacher" / "check.png").is_file()
    references = (finished.data / "test" / "text").read_text(encoding="utf-8").splitlines()
    for system in ("teacher", "student", "cons_kd"):
        decoded = finished.exp / system / "seed0" / "decode_test"
        for name in ("text", "hyp.trn"):
            assert len((decoded / name).read_text(encoding="utf-8").splitlines()) == len(references)


def test_test_texts_do_not_occur_in_training(finished: Finished) -> None:
    """For prompts no text at all; phrases of digits may repeat, but no speaker does."""
    sets = {name: finished.data / name for name in ("train", "dev", "test")}
    column = "utt2spk" if "espeak" in str(finished.script) else "text"
    values = {
        name: {line.partition(" ")[2] for line in (folder / column).read_text(encoding="utf-8").splitlines()}
        for name, folder in sets.items()
    }
    assert not values["train"] & values["dev"] | values["train"] & values["test"] | values["dev"] & values["test"]
    assert not (finished.data / "unlabelled" / "text").exists()


def test_a_second_run_skips_everything(once: Finished) -> None:
    before = snapshot(once.exp, once.data)
    began = time.monotonic()
    again = once.run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert time.monotonic() - began < once.seconds
    assert snapshot(once.exp, once.data) == before


def test_some_stages_alone(once: Finished) -> None:
    decoded = once.exp / "cons_kd" / "seed0" / "decode_test"
    before, others = (decoded / "text").read_text(encoding="utf-8"), snapshot(once.exp / "teacher")
    for file in decoded.iterdir():
        file.unlink()
    done = once.run("--stage", "decode", "--stop-stage", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^== stage (\d+)", done.stdout, re.MULTILINE) == ["6", "7"]
    assert (decoded / "text").read_text(encoding="utf-8") == before
    assert (decoded / "score.json").is_file()
    assert snapshot(once.exp / "teacher") == others


def test_settings_go_through(once: Finished) -> None:
    done = once.run("--stage", "report", "title=Passed through", "report.out=${exp}/other/RESULTS.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (once.exp / "other" / "RESULTS.md").read_text(encoding="utf-8").startswith("# Passed through\n")
    wrong = once.run("--stage", "report", "titel=Passed through")
    assert wrong.returncode == 1
    assert wrong.stderr == "seqkd report: there is no setting titel; did you mean title?\n"


def test_a_missed_number_fails(once: Finished) -> None:
    done = once.run("--stage", "report", "report.expect.cons_kd=0.001")
    assert done.returncode == 1
    assert re.search(
        r"^seqkd report: cons_kd has [\d.]+ % [WC]ER on test; this preset must reach at most 0.001 %$",
        done.stderr,
        re.M,
    )
