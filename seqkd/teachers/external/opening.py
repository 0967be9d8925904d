"""Any teacher that was not trained here, by one name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from seqkd.errors import ConfigError
from seqkd.teachers.external.audio import FrameTeacher, SequenceTeacher

Kind = Literal["own", "huggingface", "bundle", "torchaudio", "faster-whisper", "files"]

KINDS = (
    "'hf:NAME' of the Hugging Face hub, 'torchaudio:BUNDLE', 'faster-whisper:DIRECTORY', or a directory: a model saved "
    "by transformers (config.json), a torchaudio model (torchaudio.json), another toolkit's posteriors or transcripts "
    "(teacher.json), or a model trained here (model.yaml)"
)
PREFIXES = ("hf:", "torchaudio:", "faster-whisper:")
_MARKS: dict[str, Kind] = {
    "teacher.json": "files",
    "torchaudio.json": "torchaudio",
    "model.yaml": "own",
    "config.json": "huggingface",
}


def kind_of(source: str | Path) -> Kind:
    """What a teacher's name stands for; reads no weights and imports no library.

    Raises:
        ConfigError: nothing that can teach; the sentence lists what can.
    """
    source = str(source)
    if source.startswith("hf:"):
        return "huggingface"
    if source.startswith("torchaudio:"):
        return "bundle"
    if source.startswith("faster-whisper:"):
        return "faster-whisper"
    directory = Path(source)
    if not directory.is_dir():
        raise ConfigError(f"the teacher {source!r} is no directory; expected {KINDS}")
    for mark, kind in _MARKS.items():
        if (directory / mark).is_file():
            return kind
    raise ConfigError(f"the directory {source} has no teacher; expected {KINDS}")


def open_teacher(
    source: str | Path, *, device: str = "cpu", language: str | None = None, beam: int = 5, numerals: bool = True
) -> FrameTeacher | SequenceTeacher:
    """Open a teacher from elsewhere, frozen.

    Args:
        source: ``hf:NAME`` (or ``hf:DIRECTORY``), ``torchaudio:BUNDLE``, ``faster-whisper:DIRECTORY`` (or the name of
            an installed package that carries one), or a directory, see ``KINDS``.
        device: where a network runs, as torch calls it; posteriors come back to the CPU.
        language: what a Whisper that knows several languages shall expect, such as "en".
        beam: of an encoder-decoder model's search.
        numerals: whether a Whisper may write digits; False lets one that faster-whisper reads write words instead.

    Returns:
        A `FrameTeacher` for CTC models and files with posteriors, a `SequenceTeacher` for encoder-decoder models and
        files with transcripts; ``isinstance`` tells them apart.

    Raises:
        ConfigError: no teacher there, a model of one's own (see :mod:`seqkd.teachers.checkpoint`), one of a kind that
            cannot teach, or a library that is not installed.
        DataError: a file of it is missing or damaged.
    """
    source = str(source)
    kind = kind_of(source)
    if kind == "own":
        raise ConfigError(f"{source} is a model trained here, whose input is features; open it as a CheckpointTeacher")
    if kind == "files":
        from seqkd.teachers.external.files import open_files

        return open_files(source)
    if kind == "torchaudio":
        from seqkd.teachers.external.bundles import open_torchaudio

        return open_torchaudio(source, device)
    if kind == "bundle":
        from seqkd.teachers.external.bundles import open_bundle

        return open_bundle(source.removeprefix("torchaudio:"), device)
    if kind == "faster-whisper":
        from seqkd.teachers.external.faster_whisper import open_faster_whisper

        name = source.removeprefix("faster-whisper:")
        return open_faster_whisper(name, device=device, language=language, beam=beam, numerals=numerals)
    from seqkd.teachers.external.huggingface import open_huggingface

    return open_huggingface(source.removeprefix("hf:"), device=device, language=language, beam=beam)
