"""Teachers of other libraries through the whole recipe: a random wav2vec 2.0 of transformers and one of torchaudio."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.teachers.external.tiny_teachers import save_tiny_torchaudio, save_tiny_wav2vec2

RUN = Path(__file__).parents[2] / "egs" / "espeak_voices" / "ctc_kd" / "run.sh"
SETTINGS = [
    *("tokens.type=char", "tokens.word_boundary=between", "systems=[student,cons_kd]"),
    *("student.training.updates=20", "student.training.validate_every=10", "student.training.warmup=5"),
    *("report.expect.teacher=101", "report.expect.cons_kd=101", "report.replicates=200"),
    # A fifth of the preset's: neither the teachers nor their students learn anything here.
    *("corpus.sets.train.utterances=120", "corpus.sets.train_small.utterances=60"),
    *("corpus.sets.dev.utterances=20", "corpus.sets.test.utterances=40"),
]

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both runs share the corpus and its features."""
    return tmp_path_factory.mktemp("imported teachers")


@pytest.mark.parametrize(("kind", "jobs"), [("transformers", 2), ("torchaudio", 1)], ids=["transformers", "torchaudio"])
def test_a_teacher_from_elsewhere_goes_through_the_recipe(folder: Path, kind: str, jobs: int) -> None:
    """The book by two processes, and by this one alone."""
    teacher = folder / f"{kind} model"
    (save_tiny_wav2vec2 if kind == "transformers" else save_tiny_torchaudio)(teacher)
    exp = folder / kind
    command = [RUN, "--preset", "smoke", "--exp", exp, "--data", folder / "data", "--nj", str(jobs), *SETTINGS]
    done = subprocess.run(
        [*command, f"teacher.import_from='{teacher}'"], cwd=folder, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "same but for case" in done.stdout  # the table of units
    assert "word boundary" in done.stdout
    assert (exp / "book" / "clean" / "manifest.json").is_file()
    assert (exp / "cons_kd" / "seed0" / "model" / "model.safetensors").is_file()
    report = (exp / "RESULTS.md").read_text()
    assert "| Teacher |" in report and "| Cons-KD |" in report
