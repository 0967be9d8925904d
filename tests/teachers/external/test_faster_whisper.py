"""Whisper in CTranslate2's form, against the same weights in torch."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
import torch

from seqkd.data.tokens import train_tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.tasks.asr import TASK, make_tokens
from seqkd.teachers.external.audio import FrameTeacher, SequenceTeacher, Speech, TeacherTranscript, TeacherWord
from seqkd.teachers.external.faster_whisper import _Timed
from seqkd.teachers.external.opening import open_teacher
from seqkd.teachers.external.transcript_lines import line_of, read_lines
from seqkd.teachers.external.transcripts import TeacherTranscripts
from seqkd.teachers.importing import in_spelling
from seqkd.teachers.making import make
from seqkd.teachers.transcript_targets import open_transcripts
from seqkd.training.run import train
from seqkd.training.study import Study
from tests.runs import settings
from tests.teachers.external.tiny_teachers import save_tiny_whisper

pytest.importorskip("faster_whisper", reason="faster-whisper is not installed: pip install 'seqkd[whisper-teacher]'")
RATE = 16000
WRITTEN = string.ascii_lowercase + string.digits + "Ġ."  # Ġ is the space


def speech(samples: int) -> Speech:
    noise = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))
    return Speech(f"u{samples}", noise, RATE)


@torch.no_grad()
def let_it_stop(model: torch.nn.Module) -> None:
    """Point the vector of the end to where the decoder's outputs lie, so that hypotheses have ends."""
    generator = torch.Generator().manual_seed(0)
    written = torch.randint(10, 90, (8, 12), generator=generator)
    encoded = torch.randn(8, 80, 3000, generator=generator)
    outputs = model.model(input_features=encoded, decoder_input_ids=written).last_hidden_state.flatten(0, 1)
    vectors, middle = model.model.decoder.embed_tokens.weight, outputs.mean(0)
    vectors[model.config.eos_token_id] = 3.0 * middle / middle.square().sum()


def convert(folder: Path, letters: str, seed: int) -> torch.nn.Module:
    """Save a random Whisper as ``torch``, and in CTranslate2's form as ``tiny``; return it."""
    from ctranslate2.converters import TransformersConverter

    model = save_tiny_whisper(folder / "torch", positions=448, letters=letters, seed=seed)
    let_it_stop(model)
    model.save_pretrained(folder / "torch")
    TransformersConverter(str(folder / "torch"), copy_files=["tokenizer.json"]).convert(str(folder / "tiny"))
    return model


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, torch.nn.Module]:
    """A random Whisper in CTranslate2's form, as transformers saved it, and in torch."""
    folder = tmp_path_factory.mktemp("whispers")
    model = convert(folder, WRITTEN, 3)
    return folder / "tiny", folder / "torch", model


@torch.no_grad()
def test_scores_are_those_of_torch(converted: tuple[Path, Path, torch.nn.Module]) -> None:
    """Each hypothesis is scored again by one pass over the whole of it; a letter is a token."""
    from transformers import WhisperProcessor

    directory, saved, model = converted
    teacher = open_teacher(f"faster-whisper:{directory}", beam=6)
    assert isinstance(teacher, SequenceTeacher)
    assert not isinstance(teacher, FrameTeacher)
    processor = WhisperProcessor.from_pretrained(saved)
    vocabulary = processor.tokenizer.get_vocab()
    prompt = [vocabulary["<|startoftranscript|>"], vocabulary["<|notimestamps|>"]]
    allowed = [vocabulary[letter] for letter in WRITTEN] + [vocabulary["<|endoftext|>"]]
    compared = 0
    for asked in (speech(16000), speech(40000)):
        found = teacher.transcribe([asked], 4)[0]
        assert [one.log_prob for one in found] == sorted((one.log_prob for one in found), reverse=True)
        assert len({one.text for one in found}) == len(found) > 1
        encoded = processor(asked.samples.numpy(), sampling_rate=RATE, return_tensors="pt").input_features
        for one in found:
            units = [vocabulary["Ġ" if letter == " " else letter] for letter in one.text]
            if len(units) > 200:
                continue  # cut off: white space at the ends is not known
            units.append(vocabulary["<|endoftext|>"])
            logits = model(input_features=encoded, decoder_input_ids=torch.tensor([prompt + units])).logits[0]
            kept = torch.full_like(logits, -torch.inf)
            kept[:, allowed] = logits[:, allowed]
            kept[len(prompt) - 1, vocabulary["<|endoftext|>"]] = -torch.inf  # nothing is not written
            kept[len(prompt) - 1, vocabulary["Ġ"]] = -torch.inf
            log_probs = kept.log_softmax(-1)
            total = sum(float(log_probs[len(prompt) - 1 + s, unit]) for s, unit in enumerate(units))
            assert one.log_prob == pytest.approx(total, abs=2e-3 * len(units))
            compared += 1
    assert compared >= 4


def test_word_times_and_the_batch(converted: tuple[Path, Path, torch.nn.Module]) -> None:
    teacher = open_teacher(f"faster-whisper:{converted[0]}", beam=4)
    asked = [speech(16000), speech(40000)]
    together = teacher.transcribe(asked, 2)
    assert [teacher.transcribe([one], 2)[0] for one in asked] == together
    for encoded, hypotheses in zip(asked, together, strict=True):
        for one in hypotheses:
            assert [word.text for word in one.words] == one.text.split()
            edges = [edge for word in one.words for edge in (word.start, word.end)]
            assert edges == sorted(edges)
            assert edges[0] >= 0 and edges[-1] <= len(encoded.samples) / RATE + 0.04
            assert all(0 <= word.confidence <= 1 for word in one.words)


def test_punctuation_takes_no_time() -> None:
    word = _Timed("don", 0.1, 0.3, [0.9])
    word.extend("'t", 0.4, [0.7])
    word.extend(".", 1.2, [0.1])
    assert word.done() == TeacherWord("don't.", 0.1, 0.4, pytest.approx(0.8))
    word = _Timed("“", 0.0, 0.2, [0.1])
    word.extend("Yes", 0.5, [0.9])
    assert word.done() == TeacherWord("“Yes", 0.0, 0.5, pytest.approx(0.5))


def test_numbers_as_words_and_hashes(converted: tuple[Path, Path, torch.nn.Module]) -> None:
    name = f"faster-whisper:{converted[0]}"
    digits, words = open_teacher(name, beam=3), open_teacher(name, beam=3, numerals=False)
    assert digits.hash != words.hash and open_teacher(name, beam=2).hash == digits.hash
    asked = [speech(n) for n in range(16000, 40000, 4000)]
    texts = [one[0].text for one in digits.transcribe(asked, 1)]
    assert any(map(str.isdigit, "".join(texts)))
    assert not any(map(str.isdigit, "".join(one[0].text for one in words.transcribe(asked, 1))))


def test_bad_input_is_a_sentence(converted: tuple[Path, Path, torch.nn.Module], tmp_path: Path) -> None:
    directory = converted[0]
    name = f"faster-whisper:{directory}"
    for arguments, message in (
        (
            {"language": "de"},
            "faster-whisper:tiny knows English only, but teacher.language is de; set teacher.language=en",
        ),
        ({"beam": 0}, "the beam of faster-whisper:tiny is 0; expected at least 1"),
    ):
        with pytest.raises(ConfigError) as caught:
            open_teacher(name, **arguments)
        assert str(caught.value) == message
    teacher = open_teacher(name)
    with pytest.raises(DataError) as caught:
        teacher.transcribe([speech(30 * RATE + 1600)], 1)
    assert str(caught.value) == (
        "utterance 'u481600' lasts 30.1 s and faster-whisper:tiny takes 30 s; split it with a segments file"
    )
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"has no config\.json; expected a Whisper in CTranslate2's form"):
        open_teacher(f"faster-whisper:{tmp_path}")
    for file in ("config.json", "tokenizer.json"):
        (tmp_path / file).write_text((directory / file).read_text())
    with pytest.raises(ConfigError, match=r"cannot be opened as a Whisper of CTranslate2 \(.*\); convert it again"):
        open_teacher(f"faster-whisper:{tmp_path}")
    with pytest.raises(
        ConfigError, match=r"'faster-whisper:tiny_xx' is no directory and no installed package; expected"
    ):
        open_teacher("faster-whisper:tiny_xx")


def test_a_package_that_carries_a_model(
    converted: tuple[Path, Path, torch.nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carrier_of_whisper"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('is not to be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"the package carrier_of_whisper has 0 files model\.bin"):
        open_teacher("faster-whisper:carrier_of_whisper")
    for file in converted[0].iterdir():
        (package / "inner" / file.name).write_bytes(file.read_bytes())
    assert open_teacher("faster-whisper:carrier_of_whisper").hash == open_teacher(f"faster-whisper:{converted[0]}").hash


def test_word_times_are_kept_and_spelled(tmp_path: Path) -> None:
    words = (TeacherWord("Check-in,", 0.1, 0.5, 0.9), TeacherWord("now.", 0.5, 0.8, 0.7))
    given = [TeacherTranscript("Check-in, now.", -1.5, words), TeacherTranscript("Checking now.", -2.5)]
    line = line_of("u1", given, "t")
    (tmp_path / "00000.jsonl").write_text(line)
    assert list(read_lines(tmp_path / "00000.jsonl")["u1"].hypotheses) == given
    assert "words" not in json.loads(line)["hypotheses"][1]  # as before there were times
    found = in_spelling(given[0], train_tokenizer(["check in now"], type="char", vocab_size=0))
    assert (found.text, found.confidences) == ("check in now", [0.9, 0.9, 0.7])
    assert in_spelling(given[1], train_tokenizer(["check in now"], type="char", vocab_size=0)).confidences == []


def test_a_student_learns_from_transcripts_alone(tones: Path, tmp_path: Path) -> None:
    """Transcripts are written and learned from; no reference is in the batches."""
    convert(tmp_path, "doremifa", 3)
    options = ["tokens.type=char", "system=transcripts_only", "book=sequence", "book.hypotheses=3", "book.beam=4"]
    options.append(f"teacher.import_from=faster-whisper:{tmp_path / 'tiny'}")
    cfg = settings(tmp_path / "exp", tones, *options)
    make_tokens(cfg)
    make(cfg, [cfg])
    transcripts = open_transcripts(cfg)
    assert len(transcripts.entries) == 24
    assert all(one.words for entry in transcripts.entries.values() for one in entry.hypotheses if one.text)
    work = TASK.workload(Study(TASK, cfg))
    batch = next(iter(work.training(0, 0, 1)))
    assert not batch.labelled.any() and not batch.target_lengths.any()
    assert batch.hypotheses.lengths.any()
    run = train(TASK, cfg)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["labelled_hours"] == 0 < summary["unlabelled_hours"]
    assert json.loads((run / "history.json").read_text())["rows"][-1]["train"]["nbest"] > 0
    taught = settings(tmp_path / "exp", tones, *options, "system=student")
    assert Study(TASK, taught).description.get("references") is None  # runs of before are as they were
    with pytest.raises(ConfigError, match=r"setting system\.references is false, but system\.teacher is null"):
        settings(tmp_path / "exp", tones, "system=student", "system.references=false")


def test_agreement_is_that_of_the_students_spelling(tmp_path: Path) -> None:
    hypotheses = [TeacherTranscript("Stop it.", -1.0), TeacherTranscript("stop, it", -2.0)]
    (tmp_path / "00000.jsonl").write_text(line_of("u1", hypotheses, "t"))
    manifest = {"version": 1, "teacher": {"name": "t", "hash": "0"}, "n": 2, "settings": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    transcripts = TeacherTranscripts.open(tmp_path)
    assert transcripts.agreement("u1") == 0.0
    assert transcripts.keep(1.0) == []
    assert transcripts.keep(1.0, train_tokenizer(["stop it"], type="char", vocab_size=0)) == ["u1"]
