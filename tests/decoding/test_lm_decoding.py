"""Decoding with a language model from a recipe's settings: files, stamps, weights chosen on dev, and faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqkd.data.kaldi import read_data_dir
from seqkd.decoding.fusion import fusion_of, trained_model
from seqkd.decoding.lm_tuning import LmTuning, Trial, tune_lm
from seqkd.decoding.ngram import read_words, train_ngram
from seqkd.decoding.run import decode_run
from seqkd.errors import ConfigError, DataError
from tests.runs import settings

LM = ("decode.lm=train", "decode.beam=8", "decode.lm_order=2")


def decoded(exp: Path) -> Path:
    return exp / "teacher" / "seed0" / "decode_dev"


@pytest.fixture
def exp(tone_exp: Path, tmp_path: Path) -> Path:
    """A copy of the experiment that a test may write to."""
    import shutil

    shutil.copytree(tone_exp, tmp_path / "exp")
    return tmp_path / "exp"


def test_hypotheses_are_of_the_lexicon_and_have_confidences(tones, exp, tmp_path):
    words = tmp_path / "words"
    words.write_text("do\nre\n")
    cfg = settings(exp, tones, *LM, f"decode.lexicon={words}", "decode.lm_weight=0.3")
    decode_run(cfg, exp / "teacher" / "seed0", "dev")
    entries = [json.loads(line) for line in (decoded(exp) / "hyp.jsonl").read_text().splitlines()]
    assert [entry["id"] for entry in entries] == [u.id for u in read_data_dir(tones / "dev")]
    assert {word for entry in entries for word in entry["text"].split()} <= {"do", "re"}
    assert all(len(entry["confidences"]) == len(entry["text"].split()) for entry in entries)
    assert all(0 <= c <= 1 for entry in entries for c in entry["confidences"])
    (arpa,) = (exp / "lm").glob("*.arpa")
    assert arpa.name.startswith("train-2gram-")
    assert read_words(arpa) == ["do", "fa", "mi", "re"]


def test_done_is_left_alone_and_other_weights_or_files_are_not(tones, exp):
    stamp = decoded(exp) / "decode.json"

    def run(*overrides: str) -> int:
        decode_run(settings(exp, tones, *overrides), exp / "teacher" / "seed0", "dev")
        return stamp.stat().st_mtime_ns

    first = run(*LM)
    assert run(*LM) == first
    other = run(*LM, "decode.lm_weight=0.7")
    assert other != first
    (arpa,) = (exp / "lm").glob("*.arpa")
    arpa.write_text(arpa.read_text().replace("\\end\\", "\n\\end\\"))
    assert run(*LM, "decode.lm_weight=0.7") != other
    run()
    assert "words" not in json.loads(stamp.read_text())


def test_trained_model_is_made_once_and_anew_for_other_text(tones, tmp_path):
    first = trained_model(tones / "train", 2, tmp_path)
    made = first.stat().st_mtime_ns
    assert trained_model(tones / "train", 2, tmp_path) == first
    assert first.stat().st_mtime_ns == made
    assert len({first, trained_model(tones / "train", 3, tmp_path), trained_model(tones / "dev", 2, tmp_path)}) == 3
    same = train_ngram([u.text for u in read_data_dir(tones / "train")], 2)
    same.write_arpa(tmp_path / "same")
    assert (tmp_path / "same").read_bytes() == first.read_bytes()


def test_weights_are_chosen_on_dev(tones, exp):
    cfg = settings(exp, tones, *LM)
    before = {path for path in exp.rglob("*") if path.is_file()}
    tuning = tune_lm(cfg, "teacher", lm_weights=(0.0, 1.0), word_scores=(0.0, 2.0))
    assert {path for path in exp.rglob("*") if path.is_file() and path.parent.name != "lm"} == before
    pairs = [(trial.lm_weight, trial.word_score) for trial in tuning.trials]
    assert len(pairs) == len(set(pairs))
    assert pairs[:3] == [(0.5, 0.0), (0.0, 0.0), (1.0, 0.0)]
    assert tuning.best.wer == min(trial.wer for trial in tuning.trials)
    # What it reports is what stages 7 and 8 find with these weights.
    from seqkd.scoring import read_text, score

    best = tuning.best
    weights = (f"decode.lm_weight={best.lm_weight}", f"decode.word_score={best.word_score}")
    decode_run(settings(exp, tones, *LM, *weights), exp / "teacher" / "seed0", "dev")
    scored = score(read_text(tones / "dev" / "text"), read_text(decoded(exp) / "text"))
    assert scored.wer.rate == pytest.approx(best.wer)


def test_table_of_weights():
    tuning = LmTuning([Trial(0.5, 0.0, 0.25), Trial(1.0, 0.0, 0.125), Trial(1.0, 2.0, 0.125), Trial(1.0, -1.0, 0.3)])
    assert tuning.best == Trial(1.0, 0.0, 0.125)
    assert tuning.table().splitlines()[2:] == [
        "| 1 | 0 | 12.50 |",
        "| 1 | 2 | 12.50 |",
        "| 0.5 | 0 | 25.00 |",
        "| 1 | -1 | 30.00 |",
    ]


BINARY = b"mmap lm http://kheafield.com/code format version 5\n\0"


@pytest.mark.parametrize(
    ("overrides", "kind", "said"),
    [
        (
            ["decode.lm=train"],
            ConfigError,
            "decode.lm and decode.lexicon need a beam, but decode.beam is 1; set 16, say",
        ),
        (
            ["decode.lm=lm.bin", "decode.beam=4"],
            ConfigError,
            "decode.lm is lm.bin, a binary of KenLM's, which does not list its words; name a file with one word a line "
            "in decode.lexicon",
        ),
        (["decode.lm=no.arpa", "decode.beam=4"], DataError, "decode.lm is 'no.arpa', which is not a file here"),
        (["decode.lm=5", "decode.beam=4"], DataError, "decode.lm is 5, which is not a file here"),
        (
            ["decode.lm=train", "decode.beam=4", "decode.lexicon=/no/words"],
            DataError,
            "decode.lexicon is '/no/words', which is not a file",
        ),
        (
            ["decode.lm=train", "decode.beam=4", "tokens.set=extra"],
            DataError,
            "{data}/extra has no transcripts to train a language model on; name a labelled set in tokens.set",
        ),
    ],
    ids=str,
)
def test_faults_are_one_sentence(tones, tmp_path, monkeypatch, overrides, kind, said):
    monkeypatch.chdir(tmp_path)
    Path("lm.bin").write_bytes(BINARY)
    with pytest.raises(kind) as raised:
        fusion_of(settings(tmp_path / "exp", tones, *overrides))
    assert str(raised.value) == said.format(data=tones)
    assert not (tmp_path / "exp").exists()


def test_tuning_needs_a_language_model(tones, exp):
    with pytest.raises(ConfigError, match=r"decode\.lm is not set"):
        tune_lm(settings(exp, tones), "teacher")
