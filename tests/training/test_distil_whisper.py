"""Distil-Whisper's way, with a tiny random Whisper as the teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.losses.outputs import IGNORE
from seqkd.models.whisper import distilled, evenly_spaced
from seqkd.tasks.asr import TASK, make_tokens
from seqkd.tasks.asr.distil_whisper import WhisperWork, pseudo_labels
from seqkd.teachers.external.sequence import fitted
from seqkd.teachers.making import make
from seqkd.teachers.transcript_targets import open_transcripts
from seqkd.training.run import train
from seqkd.training.study import Study
from tests.runs import settings
from tests.teachers.external.tiny_teachers import save_tiny_whisper

OPTIONS = [
    *("tokens.type=char", "system=distil_whisper", "book=sequence", "book.hypotheses=2", "book.beam=2"),
    *("student.training.updates=6", "student.training.validate_every=3", "student.training.max_duration=4"),
    *("system.whisper.max_wer=1.0", "student.training.average=1", "student.training.lr=0.01"),
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    directory = tmp_path_factory.mktemp("teacher") / "whisper"
    return directory, save_tiny_whisper(directory, positions=32, layers=4)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory, tones: Path, teacher: tuple[Path, Any]) -> DictConfig:
    """A recipe of the tone corpus, with the teacher's transcripts."""
    found = settings(tmp_path_factory.mktemp("exp"), tones, *OPTIONS, f"teacher.import_from={teacher[0]}")
    make_tokens(found)
    make(found, [found])
    return found


def test_layers_are_evenly_spaced(teacher: tuple[Path, Any]) -> None:
    assert [evenly_spaced(32, 2), evenly_spaced(4, 4), evenly_spaced(6, 1)] == [[0, 31], [0, 1, 2, 3], [0]]
    assert evenly_spaced(12, 4) == [0, 4, 7, 11]
    with pytest.raises(ConfigError, match="a student of 5 layers cannot be made of 4; expected from 1 to 4"):
        evenly_spaced(4, 5)
    student = distilled(teacher[1], encoder_layers=3, decoder_layers=2)
    theirs, ours = teacher[1].model, student.model
    for side, kept in (("encoder", [0, 2, 3]), ("decoder", [0, 3])):
        layers = getattr(ours, side).layers
        assert len(layers) == len(kept)
        for layer, index in zip(layers, kept, strict=True):
            source = getattr(theirs, side).layers[index].state_dict()
            assert all(source[name].equal(value) for name, value in layer.state_dict().items())
    assert ours.decoder.embed_tokens.weight.equal(theirs.decoder.embed_tokens.weight)
    assert ours.decoder.embed_tokens.weight.data_ptr() != theirs.decoder.embed_tokens.weight.data_ptr()


@torch.no_grad()
def test_all_layers_give_the_teachers_answer(teacher: tuple[Path, Any]) -> None:
    student = distilled(teacher[1], decoder_layers=None).eval()
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    given = {"input_features": features, "decoder_input_ids": torch.tensor([[257, 261, 70], [257, 261, 80]])}
    assert student(**given).logits.equal(teacher[1](**given).logits)


def test_the_objective_is_cross_entropy_and_kl_over_the_tokens_to_write(cfg: DictConfig) -> None:
    """Against transformers' own loss and torch's KL, token by token."""
    study = Study(TASK, cfg)
    work = WhisperWork(study)
    batch = next(iter(work.training(0, 0, 1)))
    student = work.outputs(work.model, batch)
    loss = study.objective(student, {"teacher": work.sources["teacher"](batch, student)}, work.labels(batch), 1.0)
    prompt = work.prompt_length
    count = work.count(batch)
    labels = torch.nn.functional.pad(batch.targets, (prompt - 1, 0), value=IGNORE)
    given = {"input_features": batch.features, "decoder_input_ids": batch.inputs}
    ours = work.model(**given, labels=labels)
    assert float(loss.terms["labels"]) == pytest.approx(float(ours.loss) * count, rel=1e-5)
    with torch.no_grad():
        theirs = work.teacher.model(**given).logits
    kl = 0.0
    for b in range(len(batch.ids)):
        for s, target in enumerate(labels[b].tolist()):
            if target != IGNORE:
                p, q = ((x[b, s].double() / 2).log_softmax(-1) for x in (theirs, ours.logits))
                kl += 4 * float((p.exp() * (p - q)).sum())
    assert float(loss.terms["kd"]) == pytest.approx(kl, rel=1e-4)
    assert float(loss.total) == pytest.approx(float(ours.loss) * count + 0.8 * kl, rel=1e-4)
    end = work.teacher.processor.tokenizer.eos_token_id
    for name, row in zip(batch.ids, batch.targets.tolist(), strict=True):
        written = [token for token in row if token != IGNORE]
        assert written[-1] == end
        assert work.teacher.processor.tokenizer.decode(written[:-1]) == work.written[name]


def test_transcripts_are_kept_by_their_word_error_rate(cfg: DictConfig) -> None:
    from seqkd.teachers.aligned import Sets

    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    corpus = Sets.of(Path(cfg.data), ["train"], tokenizer).corpus
    with pytest.raises(ConfigError, match=r"none of 24 transcripts of .* has at most 10 % WER; raise"):
        pseudo_labels(cfg, corpus, tokenizer, 0.1)
    assert len(pseudo_labels(cfg, corpus, tokenizer, 1.0)) == 24
    there = open_transcripts(cfg)
    right = sorted(corpus.transcripts)[:2]
    for name in right:  # as if the teacher had been right
        corpus.transcripts[name] = fitted(there.of(name)[0].text, tokenizer)
    assert pseudo_labels(cfg, corpus, tokenizer, 0.1) == {name: there.of(name)[0].text for name in right}


def test_a_student_is_trained_decoded_and_opened_by_transformers(
    cfg: DictConfig, teacher: tuple[Path, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    run = train(TASK, cfg)
    student = AutoModelForSpeechSeq2Seq.from_pretrained(run / "model")
    AutoProcessor.from_pretrained(run / "model")
    assert student.config.decoder_layers == 2
    theirs, ours = teacher[1].state_dict(), student.state_dict()
    encoder = [name for name in ours if name.startswith("model.encoder.")]
    assert all(ours[name].equal(theirs[name]) for name in encoder)  # frozen
    assert not ours["model.decoder.layers.0.fc1.weight"].equal(theirs["model.decoder.layers.0.fc1.weight"])
    summary = json.loads((run / "summary.json").read_text())
    assert summary["parameters"] == sum(p.numel() for p in student.parameters())
    assert (summary["labelled_hours"], summary["steps"], summary["dropped"]) == (0.0, 6, 0)
    rows = json.loads((run / "history.json").read_text())["rows"]
    assert rows[-1]["train"]["total"] < rows[0]["train"]["total"]
    TASK.decode(cfg, run, "dev")
    lines = (run / "decode_dev" / "text").read_text().splitlines()
    assert len(lines) == 8
    before = (run / "decode_dev" / "text").stat().st_mtime_ns
    TASK.decode(cfg, run, "dev")
    assert (run / "decode_dev" / "text").stat().st_mtime_ns == before
    TASK.export(cfg, [cfg])
    assert f"{run / 'model'}: a model of transformers, as it is" in capsys.readouterr().out


def test_another_teacher_is_a_sentence(cfg: DictConfig, tones: Path) -> None:
    other = settings(Path(cfg.exp), tones, *OPTIONS, "teacher.import_from=torchaudio:WAV2VEC2_ASR_BASE_960H")
    with pytest.raises(ConfigError, match=r"system distil_whisper distils a Whisper of transformers; name one in"):
        WhisperWork(Study(TASK, other))
