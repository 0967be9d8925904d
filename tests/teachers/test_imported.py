"""Teachers from elsewhere teach a recipe's students: imported, written down, learned from, decoded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from seqkd.cli.main import main
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.knowledge import Book
from seqkd.layout import run_directory
from seqkd.tasks.asr import TASK, make_tokens
from seqkd.teachers.aligned import ExternalTeacher, Sets, aligned_teachers
from seqkd.teachers.ctc_book import book_directory
from seqkd.teachers.importing import import_teacher
from seqkd.teachers.making import entries_to_make, make
from seqkd.teachers.transcript_targets import open_transcripts, targets_of
from seqkd.training.run import train
from tests.runs import settings
from tests.teachers.external import tiny_teachers

CHARACTERS = ("tokens.type=char", "tokens.word_boundary=between", "student.augment.warp=0")


def configured(exp: Path, tones: Path, teacher: Path | str, *overrides: str) -> DictConfig:
    """A recipe of the tone corpus with a teacher from elsewhere, and its tokenizer."""
    options = ("book=dense", "system=kd", "student.training.updates=4", f"teacher.import_from={teacher}")
    cfg = settings(exp, tones, *CHARACTERS, *options, *overrides)
    make_tokens(cfg)
    return cfg


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wav2vec2")
    tiny_teachers.save_tiny_wav2vec2(directory)
    return directory


@pytest.fixture(scope="module")
def torchaudio_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("torchaudio")
    tiny_teachers.save_tiny_torchaudio(directory)
    return directory


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whisper")
    tiny_teachers.save_tiny_whisper(directory)
    return directory


@pytest.mark.parametrize("teacher", ["wav2vec2", "torchaudio_model"])
def test_frames_are_taught(tmp_path: Path, tones: Path, teacher: str, request: pytest.FixtureRequest) -> None:
    cfg = configured(tmp_path, tones, request.getfixturevalue(teacher))
    train(TASK, settings_of(cfg))
    assert entries_to_make(cfg, [cfg]) == 24
    make(cfg, [cfg])
    assert entries_to_make(cfg, [cfg]) == 0
    book = Book.open(book_directory(cfg, "clean", False))
    (teacher,) = aligned_teachers(cfg, Tokenizer.load(tmp_path / "tokens"))
    assert isinstance(teacher, ExternalTeacher)
    sets = Sets.of(tones, ["train"], Tokenizer.load(tmp_path / "tokens"))
    ids = list(book.utterances)[:3]
    for utterance, expected in zip(ids, teacher.log_probs(sets, ids), strict=True):
        torch.testing.assert_close(book.read(utterance).log_probs(), expected, rtol=2e-3, atol=2e-3)
    run = train(TASK, cfg)
    row = json.loads((run / "history.json").read_text())["rows"][0]["train"]
    assert row["kd"] > 0
    assert Book.open(book_directory(cfg, "clean", False)).manifest.hash in (run / "config.yaml").read_text()
    TASK.decode(cfg, run_directory(cfg, "teacher", 0), "dev")
    text = (run_directory(cfg, "teacher", 0) / "decode_dev" / "text").read_text().splitlines()
    assert [line.split()[0] for line in text] == sorted(line.split()[0] for line in (tones / "dev" / "text").open())


def settings_of(cfg: DictConfig) -> DictConfig:
    """The same settings of the teacher."""
    other = cfg.copy()
    other.system.name, other.system.role, other.system.procedure = "teacher", "teacher", "seqkd.tasks.asr.teacher"
    return other


def test_one_that_writes_teaches_by_its_transcripts(
    tmp_path: Path, tones: Path, whisper: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = configured(tmp_path, tones, whisper, "system=kd_unlabelled", "book.hypotheses=2", "book.beam=2")
    assert entries_to_make(cfg, [cfg]) == 36
    assert "writes transcripts and has no frames to learn from; its transcripts are written down" in caplog.text
    make(cfg, [cfg])
    assert entries_to_make(cfg, [cfg]) == 0
    found = open_transcripts(cfg)
    assert len(found.entries) == 36
    row = json.loads((train(TASK, cfg) / "history.json").read_text())["rows"][0]["train"]
    assert row.keys() >= {"ctc", "kd"}
    import_teacher(cfg)
    TASK.decode(cfg, run_directory(cfg, "teacher", 0), "dev")
    assert not (run_directory(cfg, "teacher", 0) / "decode_dev" / "hyp.jsonl").exists()  # it states no confidence


def test_units_of_another_kind_fall_back_to_transcripts(
    tmp_path: Path, tones: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = tmp_path / "pieces"
    write_files(teacher, tones, ["<blank>", "▁do", "▁re", "▁mi", "sol", "a"], spoken=["▁do", "▁re"])
    cfg = configured(tmp_path, tones, teacher, "system=cons_kd")
    assert entries_to_make(cfg, [cfg]) == 24
    assert "of several characters that the student lacks" in caplog.text
    make(cfg, [cfg])
    assert open_transcripts(cfg).of("s0-train000")[0].text == "do re"
    tokenizer = Tokenizer.load(tmp_path / "tokens")
    sets = Sets.of(tones, ["train"], tokenizer)
    batch = targets_of(cfg, sets.corpus, tokenizer)(list(sets.corpus.transcripts)[:3], 0)
    assert tokenizer.decode(batch.targets[0, 0, : batch.lengths[0, 0]].tolist()) == "do re"
    row = json.loads((train(TASK, cfg) / "history.json").read_text())["rows"][0]["train"]
    assert row.keys() == {"total", "ctc", "kd", "consistency"}
    with pytest.raises(ConfigError, match=r"system guided learns frame by frame \(term kd: Guided\), but all"):
        train(TASK, configured(tmp_path, tones, teacher, "system=guided"))


def test_one_trained_here_may_teach_by_transcripts(tone_exp: Path, tones: Path, tmp_path: Path) -> None:
    shutil.copytree(tone_exp, tmp_path / "exp")
    cfg = settings(tmp_path / "exp", tones, "book=sequence", "system=kd", "student.training.updates=4")
    make(cfg, [cfg])
    assert len(open_transcripts(cfg).entries) == 24
    train(TASK, cfg)
    # Back to frames: what is there of the other kind must not be read.
    dense = settings(tmp_path / "exp", tones, "book=dense", "book.seeds=2", "system=kd")
    assert entries_to_make(dense, [dense]) == 48
    assert not (tmp_path / "exp" / "book" / "transcripts").exists()


def test_hypotheses_that_disagree_are_not_learned_from(tmp_path: Path, tones: Path, wav2vec2: Path) -> None:
    cfg = configured(tmp_path, tones, wav2vec2, "book=sequence", "book.hypotheses=3", "book.agreement=1.0")
    make(cfg, [cfg])
    tokenizer = Tokenizer.load(tmp_path / "tokens")
    sets = Sets.of(tones, ["train"], tokenizer)
    kept = targets_of(cfg, sets.corpus, tokenizer)
    strict, ids = kept([*sets.corpus.transcripts], 0), list(sets.corpus.transcripts)
    assert len(kept.kept) < len(ids)
    for row, utterance in enumerate(ids):
        assert utterance in kept.kept or (strict.scores[row] == -torch.inf).all()


def test_several_from_anywhere_are_averaged(
    tmp_path: Path, tones: Path, wav2vec2: Path, torchaudio_model: Path
) -> None:
    cfg = configured(tmp_path, tones, f"[{wav2vec2},{torchaudio_model}]", "teacher.weights=[1,3]")
    make(cfg, [cfg])
    book, tokenizer = Book.open(book_directory(cfg, "clean", False)), Tokenizer.load(tmp_path / "tokens")
    assert [one.weight for one in book.manifest.teachers] == [0.25, 0.75]
    sets, ids = Sets.of(tones, ["train"], tokenizer), list(book.utterances)[:2]
    answers = [list(one.log_probs(sets, ids)) for one in aligned_teachers(cfg, tokenizer)]
    for utterance, first, second in zip(ids, *answers, strict=True):
        expected = 0.25 * first.exp() + 0.75 * second.exp()
        torch.testing.assert_close(book.read(utterance).probs(), expected, rtol=2e-3, atol=1e-3)
    other = configured(tmp_path, tones, wav2vec2)
    with pytest.raises(ConfigError, match=r"has teachers \S+ \(\w+\) with weight 0.25 and .* and the student"):
        train(TASK, other)


def test_elsewhere_cannot_run_beside(tmp_path: Path, tones: Path, wav2vec2: Path) -> None:
    cfg = configured(tmp_path, tones, wav2vec2, "book=live")
    with pytest.raises(ConfigError, match=r"takes audio and cannot run beside students, .* book=dense instead"):
        train(TASK, cfg)


def test_what_is_wrong_with_a_teacher_is_one_sentence(
    tmp_path: Path, tones: Path, wav2vec2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"empty has no teacher; expected 'hf:NAME'"):
        import_teacher(configured(tmp_path, tones, empty))
    damaged = tmp_path / "damaged"
    shutil.copytree(wav2vec2, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises((ConfigError, DataError), match=str(damaged)):
        import_teacher(configured(tmp_path, tones, damaged))
    words = ["tokens.type=word", f"teacher.import_from={wav2vec2}", f"tokens.directory={tmp_path}/words"]
    cfg = settings(tmp_path, tones, *words)
    make_tokens(cfg)
    from tests.runs import arguments

    assert main(["check-teacher", *arguments(tmp_path, tones, *words)]) == 0  # by its transcripts
    assert "teaches by its transcripts; dev WER" in capsys.readouterr().out


def write_files(directory: Path, tones: Path, labels: list[str], spoken: list[str]) -> None:
    """Posteriors of another toolkit for every utterance of train and dev, that say ``spoken``."""
    from safetensors.torch import save_file

    directory.mkdir()
    about = {"name": "theirs", "labels": labels, "blank": 0, "word_boundary": "▁", "frame_shift_ms": 40.0}
    (directory / "teacher.json").write_text(json.dumps({**about, "kind": "log_probs"}))
    entries = {}
    for name in ("train", "dev"):
        for line in (tones / name / "text").read_text().splitlines():
            utterance = line.split()[0]
            frames = frames_of(tones / name, utterance)
            probs = torch.full((frames, len(labels)), 0.01)
            probs[:, 0] = 1.0
            for place, label in enumerate(spoken):
                probs[2 * place + 1, labels.index(label)] = 5.0
            entries[utterance] = probs.log().log_softmax(-1)
    save_file(entries, directory / "00000.safetensors")


def frames_of(data: Path, utterance: str) -> int:
    """Frames of 40 ms of an utterance."""
    from seqkd.data.features import FeatureStore
    from seqkd.data.subsampling import subsampled_length

    return subsampled_length(FeatureStore([data]).frames[utterance])
