"""The LibriSpeech recipe, and one's own recordings, from nothing to a report, on miniatures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import soundfile

from seqkd.uptodate import CACHE
from tests.libri_corpus import TONES, make_libri

ROOT = Path(__file__).parents[2]
TINY = [
    "teacher.import_from=null",
    "features.num_mel_bins=20",
    "systems=[cons_kd]",
    *(f"model@{role}.model=conv" for role in ("teacher", "student")),
    *(f"{role}.model.{size}" for role in ("teacher", "student") for size in ("width=24", "layers=2", "hidden=32")),
    *(f"{role}.training.{s}" for role in ("teacher", "student") for s in ("updates=20", "validate_every=10")),
    *(f"{role}.training.{s}" for role in ("teacher", "student") for s in ("warmup=2", "max_duration=10", "workers=0")),
    *(f"{role}.training.{s}" for role in ("teacher", "student") for s in ("precision=32-true", "average=1")),
    "report.replicates=200",
]

pytestmark = pytest.mark.recipe


def run(recipe: str, folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "egs" / recipe / "ctc_kd" / "run.sh"
    command = [script, "--exp", folder / "exp", "--data", folder / "data", "--nj", "2", *arguments]
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def libri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_libri(tmp_path_factory.mktemp("libri") / "LibriSpeech")


def test_every_stage_of_librispeech(libri, tmp_path):
    """Decoding with a language model of the transcripts, so that this is tried, too."""
    began = time.monotonic()
    lm = ["decode.lm=train", "decode.lm_order=2", "decode.beam=8"]
    done = run("librispeech", tmp_path, *TINY, *lm, LIBRISPEECH=str(libri))
    print(f"librispeech: {time.monotonic() - began:.0f} s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^== stage (\d+)", done.stdout, re.M) == [str(stage) for stage in range(9)]
    results = (tmp_path / "exp" / "RESULTS.md").read_text(encoding="utf-8")
    assert "| System | Parameters | Seeds | test_clean, WER % | test_other, WER % |" in results
    assert all(f"| {label} |" in results for label in ("Teacher", "Cons-KD"))
    for name in ("test_clean", "test_other"):
        decoded = tmp_path / "exp" / "cons_kd" / "seed0" / f"decode_{name}"
        assert json.loads((decoded / "score.json").read_text(encoding="utf-8"))["systems"]
        lines = (decoded / "hyp.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 6
        assert {word for line in lines for word in json.loads(line)["text"].split()} <= set(TONES)
        assert json.loads((decoded / "decode.json").read_text(encoding="utf-8"))["words"]["lm_weight"] == 0.5
    sets = {path.name for path in (tmp_path / "data").iterdir()}
    assert sets == {"dev", "dev_clean", "dev_other", "test_clean", "test_other", "train_clean_100"}
    units = json.loads((tmp_path / "exp" / "tokens" / "tokenizer.json").read_text(encoding="utf-8"))["units"]
    assert set("".join(TONES)) <= set(units)


def test_a_broken_corpus_is_one_sentence(libri, tmp_path):
    done = run("librispeech", tmp_path, LIBRISPEECH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        f"seqkd prepare: LIBRISPEECH (the environment, or local/db.sh) is {tmp_path}, which holds no part of "
        "LibriSpeech; expected a directory with dev-clean and others, as unpacked, or leave it empty to have them "
        "downloaded.\n"
    )
    assert not (tmp_path / "data").exists()


def test_recordings_of_ones_own_in_one_command(libri, tmp_path):
    lines = ["path,text,speaker"]
    for file in sorted((libri / "train-clean-100").rglob("*.trans.txt")):
        for line in file.read_text(encoding="utf-8").splitlines():
            key, _, text = line.partition(" ")
            lines.append(f"{file.parent / key}.flac,{text},{key.partition('-')[0]}")
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    more = tmp_path / "more audio"
    more.mkdir()
    for file in sorted((libri / "dev-other").rglob("*.flac")):
        samples, rate = soundfile.read(file)
        soundfile.write(more / f"{file.stem}.wav", samples, rate)
    given = [f"corpus.train={tmp_path / 'mine.csv'}", f"corpus.unlabelled='{more}'", "corpus.split_by=utterance"]
    sets = ["corpus.dev=0.15", "corpus.test=0.15", "corpus.normalize=lower", "tokens.type=char"]
    sets += ["unlabelled=[unlabelled]", "features.num_mel_bins=20"]
    done = run("TEMPLATE", tmp_path, "--stop-stage", "prepare", *given, *sets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tmp_path / 'mine.csv'} is read as: table\n" in done.stderr
    assert f"{more} is read as: folder of audio\n" in done.stderr
    assert "dev and test are split off by utterance\n" in done.stderr
    assert "train has 9 characters: ' d e i m n o r t" in done.stderr
    data = tmp_path / "data"
    assert all((data / name / "feats" / "done.json").is_file() for name in ("train", "dev", "test", "unlabelled"))
    found = {path.name for path in (data / "unlabelled").iterdir()} - {CACHE}
    assert found == {".seqkd", "feats", "spk2utt", "utt2spk", "wav.scp"}
    tokenizer = json.loads((tmp_path / "exp" / "tokens" / "tokenizer.json").read_text(encoding="utf-8"))
    assert set("'deimnort") <= set(tokenizer["units"])


def test_a_recipe_without_a_corpus_says_how_to_name_one(tmp_path):
    done = run("TEMPLATE", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "seqkd prepare: corpus.train is None; expected a directory or a table, for instance corpus.train=mine.csv.\n"
    )
