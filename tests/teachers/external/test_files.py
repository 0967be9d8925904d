"""Teachers of other toolkits, through files."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seqkd.errors import ConfigError, DataError
from seqkd.teachers.external import files
from seqkd.teachers.external.audio import FrameTeacher, SequenceTeacher, Speech, TeacherTranscript
from seqkd.teachers.external.opening import open_teacher

LABELS = ["<blank>", "▁", "a", "b", "c"]
ABOUT = {
    "name": "theirs",
    "kind": "log_probs",
    "labels": LABELS,
    "blank": 0,
    "word_boundary": "▁",
    "frame_shift_ms": 40,
}


def posterior(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, 5, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


def asked(*names: str) -> list[Speech]:
    return [Speech(name, torch.zeros(0), None) for name in names]


def write(directory: Path, *shards: dict[str, torch.Tensor], **changes: object) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "teacher.json").write_text(json.dumps(ABOUT | changes))
    for number, shard in enumerate(shards):
        save_file(shard, directory / f"{number}.safetensors")
    return directory


def test_the_documented_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = files.__doc__.split("::\n\n", 1)[1].split("\n\nLetters:", 1)[0]
    lines = textwrap.dedent(example)
    assert len([line for line in lines.splitlines() if line]) <= 11
    monkeypatch.chdir(tmp_path)
    audio = {"u1": torch.randn(7), "u2": torch.randn(4)}
    model = lambda samples: samples[:, None] * torch.arange(5.0)  # noqa: E731
    exec(lines, {"model": model, "audio": audio, "labels": LABELS})
    teacher = open_teacher(tmp_path / "my_teacher")
    assert isinstance(teacher, FrameTeacher)
    assert not isinstance(teacher, SequenceTeacher)
    assert (teacher.name, teacher.frame_shift_ms, teacher.sample_rate) == ("my teacher", 40, None)
    assert teacher.vocabulary.labels == tuple(LABELS)
    for name, found in zip(("u2", "u1"), teacher.log_probs(asked("u2", "u1")), strict=True):
        assert torch.allclose(found, model(audio[name]).log_softmax(-1), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_posteriors_in_16_or_32_bits_over_several_files(tmp_path: Path, dtype: torch.dtype) -> None:
    entries = {f"u{n}": posterior(n + 1, n).to(dtype) for n in range(6)}
    shards = [{name: entry for name, entry in entries.items() if int(name[1]) % 3 == shard} for shard in range(3)]
    teacher = open_teacher(write(tmp_path / "t", *shards))
    for name, found in zip(entries, teacher.log_probs(asked(*entries)), strict=True):
        assert found.dtype == torch.float32
        assert torch.allclose(found, entries[name].float().log_softmax(-1), atol=1e-6)
        assert torch.allclose(found.exp().sum(-1), torch.ones(len(found)), atol=1e-6)


def test_logits(tmp_path: Path) -> None:
    logits = posterior(3) + 7
    teacher = open_teacher(write(tmp_path / "t", {"u": logits}, kind="logits"))
    assert torch.allclose(teacher.log_probs(asked("u"))[0], logits.log_softmax(-1), atol=1e-6)


def test_the_hash_covers_what_is_where(tmp_path: Path) -> None:
    first = open_teacher(write(tmp_path / "a", {"u": posterior(3), "v": posterior(4)})).hash
    assert len(first) == 16
    assert open_teacher(write(tmp_path / "same", {"u": posterior(3), "v": posterior(4)})).hash == first
    assert open_teacher(write(tmp_path / "longer", {"u": posterior(4), "v": posterior(3)})).hash != first
    assert open_teacher(write(tmp_path / "name", {"u": posterior(3), "w": posterior(4)})).hash != first
    assert (
        open_teacher(write(tmp_path / "rate", {"u": posterior(3), "v": posterior(4)}, frame_shift_ms=20)).hash != first
    )


def test_transcripts(tmp_path: Path) -> None:
    (tmp_path / "teacher.json").write_text(json.dumps({"name": "theirs", "kind": "transcripts"}))
    lines = [
        {"id": "u", "hypotheses": [{"text": "the  cat", "log_prob": -1.5}, {"text": "a cat", "log_prob": -2}]},
        {"id": "v", "hypotheses": [{"text": "größe", "log_prob": -0.5}]},
    ]
    path = tmp_path / "transcripts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    teacher = open_teacher(tmp_path)
    assert isinstance(teacher, SequenceTeacher)
    assert teacher.transcribe(asked("v", "u"), 2) == [
        [TeacherTranscript("größe", -0.5)],
        [TeacherTranscript("the cat", -1.5), TeacherTranscript("a cat", -2.0)],
    ]
    assert teacher.transcribe(asked("u"), 1) == [[TeacherTranscript("the cat", -1.5)]]
    before = teacher.hash
    path.write_text(path.read_text().replace("a cat", "a hat"))
    assert open_teacher(tmp_path).hash != before


# ---- bad input


def refused(directory: Path) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        open_teacher(directory).log_probs(asked("u"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "probs"}, ": kind is 'probs'; expected one of log_probs, logits, transcripts"),
        ({"blank": 5}, " has the blank 5; expected a class from 0 to 4"),
        ({"frame_shift_ms": 0}, ": frame_shift_ms is 0; expected milliseconds above 0"),
        ({"frame_shift_ms": "40"}, ": frame_shift_ms is '40'; expected milliseconds above 0"),
        ({"labels": "abcde"}, " has labels 'abcde'; expected a list of at least 2 texts, one a class"),
        (
            {"word_boundary": "|"},
            " has the word boundary '|', which none of its labels is or begins with; name the label that stands "
            "between words, or null if there is none",
        ),
        (
            {"wordboundary": "|"},
            " has the unknown wordboundary; expected blank, frame_shift_ms, kind, labels, name, word_boundary",
        ),
    ],
)
def test_a_description_that_cannot_be(tmp_path: Path, changes: dict, message: str) -> None:
    assert refused(write(tmp_path / "t", {"u": posterior(3)}, **changes)) == f"{tmp_path}/t/teacher.json{message}"


def test_a_blank_that_is_not_stated(tmp_path: Path) -> None:
    path = write(tmp_path / "t", {"u": posterior(3)}) / "teacher.json"
    path.write_text(json.dumps({key: value for key, value in ABOUT.items() if key != "blank"}))
    assert refused(tmp_path / "t") == (
        f"{path} lacks blank; expected blank, frame_shift_ms, kind, labels, name, word_boundary"
    )
    path.write_text("[1]")
    assert refused(tmp_path / "t") == f"{path} is no JSON object but a list; write it again"
    path.write_text("{")
    assert refused(tmp_path / "t").startswith(f"{path} is no JSON (")


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.zeros(3, 4), "(3, 4), F32"),
        (torch.zeros(0, 5), "(0, 5), F32"),
        (torch.zeros(5), "(5,), F32"),
        (torch.zeros(3, 5, dtype=torch.int64), "(3, 5), I64"),
    ],
)
def test_tensors_that_do_not_fit_the_labels(tmp_path: Path, tensor: torch.Tensor, found: str) -> None:
    assert refused(write(tmp_path / "t", {"u": tensor})) == (
        f"{tmp_path}/t/0.safetensors: utterance 'u' has a tensor of shape {found}; expected (T, 5) for the 5 labels of "
        "teacher.json, in F16, BF16, F32"
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_none(tmp_path: Path, bad: float) -> None:
    entry = posterior(6)
    entry[4, 2] = bad
    assert refused(write(tmp_path / "t", {"u": entry})) == (
        f"{tmp_path}/t/0.safetensors: utterance 'u' has no finite posterior at frame 4; check what wrote it"
    )


def test_logits_that_are_called_log_probs(tmp_path: Path) -> None:
    entry = posterior(6)
    entry[2] += 1
    assert refused(write(tmp_path / "t", {"u": entry})) == (
        f"{tmp_path}/t/0.safetensors: utterance 'u' has probabilities that add up to 2.718 at frame 2; write "
        'log-probabilities, or "kind": "logits" in teacher.json'
    )


def test_an_utterance_that_is_missing(tmp_path: Path) -> None:
    assert refused(write(tmp_path / "t", {"v": posterior(3)})) == (
        f"{tmp_path}/t has no posteriors of utterance 'u' (it has 1 others); write them with the teacher's toolkit"
    )


def test_an_utterance_in_two_files(tmp_path: Path) -> None:
    assert refused(write(tmp_path / "t", {"u": posterior(3)}, {"u": posterior(3)})) == (
        f"{tmp_path}/t/1.safetensors: utterance 'u' is in 0.safetensors too; keep one of them"
    )


def test_no_files(tmp_path: Path) -> None:
    assert refused(write(tmp_path / "t")) == (
        f"{tmp_path}/t has no *.safetensors with posteriors; write a tensor (T, C) an utterance id"
    )


def test_truncated_files(tmp_path: Path) -> None:
    path = write(tmp_path / "t", {"u": posterior(30), "v": posterior(30)}) / "0.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert refused(tmp_path / "t") == (
        f"{path} has {len(content) - 100} bytes and its header promises {len(content)}; it breaks off, write it again"
    )
    for size in (0, 4, 20):
        path.write_bytes(content[:size])
        assert refused(tmp_path / "t") == f"{path} is no safetensors file, or its header is damaged; write it again"


def test_transcripts_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "teacher.json").write_text(json.dumps({"name": "theirs", "kind": "transcripts"}))
    path = tmp_path / "transcripts.jsonl"
    assert refused(tmp_path) == f"{path} is missing; write a line an utterance"
    good = json.dumps({"id": "u", "hypotheses": [{"text": "a", "log_prob": -1.0}]})
    expected = 'expected {"id": ..., "hypotheses": [{"text": ..., "log_prob": ...}]}'
    path.write_text(good + '\n{"id": "v", "text": "a"}\n')
    assert refused(tmp_path) == f"{path}, line 2: {expected} (KeyError('hypotheses'))"
    path.write_text(f"{good}\n{good}\n")
    assert refused(tmp_path) == f"{path}, line 2: utterance 'u' is there already; keep one of the lines"
    path.write_text(good.replace("-1.0", "NaN") + "\n")
    assert refused(tmp_path) == f"{path}, line 1: utterance 'u' needs hypotheses with finite log-probabilities"
    path.write_text(good + "\n")
    with pytest.raises(DataError) as caught:
        open_teacher(tmp_path).transcribe(asked("w"), 1)
    assert str(caught.value) == f"{path} has no line for utterance 'w'; write it with the teacher's toolkit"
