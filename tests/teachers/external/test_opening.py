from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.errors import ConfigError
from seqkd.teachers.external.opening import kind_of, open_teacher

KINDS = (
    "expected 'hf:NAME' of the Hugging Face hub, 'torchaudio:BUNDLE', 'faster-whisper:DIRECTORY', or a directory: "
    "a model saved by transformers (config.json), a torchaudio model (torchaudio.json), another toolkit's posteriors "
    "or transcripts (teacher.json), or a model trained here (model.yaml)"
)


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("config.json", "huggingface"),
        ("torchaudio.json", "torchaudio"),
        ("teacher.json", "files"),
        ("model.yaml", "own"),
    ],
)
def test_directories_are_told_apart(tmp_path: Path, mark: str, kind: str) -> None:
    (tmp_path / mark).touch()
    assert kind_of(tmp_path) == kind


def test_names_are_told_apart() -> None:
    assert kind_of("hf:facebook/wav2vec2-base-960h") == "huggingface"
    assert kind_of("torchaudio:WAV2VEC2_ASR_BASE_960H") == "bundle"


def test_nothing_that_can_teach(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_teacher(tmp_path)
    assert str(caught.value) == f"the directory {tmp_path} has no teacher; {KINDS}"
    with pytest.raises(ConfigError) as caught:
        open_teacher("facebook/wav2vec2-base-960h")
    assert str(caught.value) == f"the teacher 'facebook/wav2vec2-base-960h' is no directory; {KINDS}"


def test_a_model_of_ones_own_is_opened_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").touch()
    with pytest.raises(ConfigError) as caught:
        open_teacher(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is a model trained here, whose input is features; open it as a CheckpointTeacher"
    )


def test_without_transformers_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError) as caught:
        open_teacher(tmp_path)
    assert str(caught.value) == "transformers is not installed; install it with: pip install 'seqkd[hf]'"


def test_heavy_libraries_are_imported_when_they_are_needed() -> None:
    code = (
        "import sys; import seqkd.teachers.external.opening, seqkd.teachers.external.transcripts; "
        "import seqkd.teachers.external.files; "
        "print([name for name in ('transformers', 'torchaudio', 'soxr', 'soundfile') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
