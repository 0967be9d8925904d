"""Teachers of any other toolkit, through files: NeMo, ESPnet, icefall, or whatever can write safetensors.

A directory holds ``teacher.json`` and

- any number of ``*.safetensors`` with one tensor (T, C) an utterance id, in 16 or 32 bits, for ``kind`` "log_probs"
  (rows sum to 1) or "logits" (they need not), or
- ``transcripts.jsonl`` for ``kind`` "transcripts": ``{"id": ..., "hypotheses": [{"text": ..., "log_prob": ...}]}``
  on a line, best first.

``teacher.json`` has ``name``, ``kind`` and, for posteriors, ``labels`` (a text for each of the C classes), ``blank``
(its class), ``word_boundary`` (the label between words, or what labels that begin a word begin with; null for none)
and ``frame_shift_ms``. All that it takes, in the other toolkit's environment::

    import json
    from pathlib import Path
    from safetensors.torch import save_file

    out = Path("my_teacher")
    out.mkdir()
    about = {"name": "my teacher", "kind": "log_probs", "labels": labels, "blank": 0}
    about |= {"word_boundary": "▁", "frame_shift_ms": 40}
    (out / "teacher.json").write_text(json.dumps(about))
    entries = {utterance: model(samples).log_softmax(-1).contiguous() for utterance, samples in audio.items()}
    save_file(entries, out / "00000.safetensors")

Letters: T frames, C classes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqkd.errors import ConfigError, DataError
from seqkd.files import decode_line
from seqkd.teachers.external.audio import Speech, TeacherTranscript
from seqkd.teachers.external.descriptions import check_fields, read_json
from seqkd.teachers.external.vocabulary import Vocabulary
from seqkd.uptodate import CACHE, content_hashes, file_state, fingerprint

NAME = "teacher.json"
TRANSCRIPTS = "transcripts.jsonl"
KINDS = ("log_probs", "logits", "transcripts")
FIELDS = {"name", "kind", "labels", "blank", "word_boundary", "frame_shift_ms"}
_TYPES = ("F16", "BF16", "F32")
_SLACK = 0.02  # of a row's sum, as in a book: half precision is that far off


class FileTeacher:
    """A `FrameTeacher` that reads what another toolkit wrote, by utterance id, when it is asked."""

    sample_rate = None

    def __init__(self, directory: Path, about: dict[str, Any]) -> None:
        """Read the headers of all files, and check that they fit the description.

        The hash covers the description and every byte of the files; `content_hashes` reads only what has changed.
        ``earlier_hash`` covered their names, sizes and headers alone.
        """
        path = directory / NAME
        self.vocabulary = Vocabulary.of(about["labels"], about["blank"], about["word_boundary"], where=str(path))
        self.name, self._directory, self._kind = about["name"], directory, about["kind"]
        self.frame_shift_ms = about["frame_shift_ms"]
        if not isinstance(self.frame_shift_ms, (int, float)) or not 0 < self.frame_shift_ms < math.inf:
            raise ConfigError(f"{path}: frame_shift_ms is {self.frame_shift_ms!r}; expected milliseconds above 0")
        earlier = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        self._files: dict[str, Path] = {}
        files = sorted(directory.glob("*.safetensors"))
        for file in files:
            raw = _header(file)
            earlier.update(f"\0{file.name}\0{file.stat().st_size}\0".encode() + raw)
            self._add(file, json.loads(raw))
        if not self._files:
            raise DataError(f"{directory} has no *.safetensors with posteriors; write a tensor (T, C) an utterance id")
        self.earlier_hash = earlier.hexdigest()[:16]
        contents = content_hashes(files, directory / CACHE)
        self.hash = fingerprint(about, [[file.name, contents[file]] for file in files])

    def _add(self, file: Path, header: dict[str, Any]) -> None:
        classes = len(self.vocabulary)
        for utterance, tensor in header.items():
            if utterance == "__metadata__":
                continue
            shape, where = tensor["shape"], f"{file}: utterance {utterance!r}"
            if len(shape) != 2 or shape[1] != classes or shape[0] == 0 or tensor["dtype"] not in _TYPES:
                raise DataError(
                    f"{where} has a tensor of shape {tuple(shape)}, {tensor['dtype']}; expected (T, {classes}) for the "
                    f"{classes} labels of {NAME}, in {', '.join(_TYPES)}"
                )
            if utterance in self._files:
                raise DataError(f"{where} is in {self._files[utterance].name} too; keep one of them")
            self._files[utterance] = file

    def log_probs(self, speech: Sequence[Speech]) -> list[Tensor]:
        """See FrameTeacher; no audio is read.

        Raises:
            DataError: an utterance that is in no file, NaN, or log_probs whose rows do not sum to 1.
        """
        return [self.of(one.id) for one in speech]

    def of(self, utterance: str) -> Tensor:
        """(T, C) log-probabilities of one utterance."""
        if utterance not in self._files:
            raise DataError(
                f"{self._directory} has no posteriors of utterance {utterance!r} (it has {len(self._files)} others); "
                "write them with the teacher's toolkit"
            )
        file = self._files[utterance]
        rows = _opened(file, *file_state(file)).get_tensor(utterance).float()
        where = f"{file}: utterance {utterance!r}"
        total = rows.logsumexp(-1)
        if total.isnan().any() or (total == torch.inf).any() or (total == -torch.inf).any():
            frame = int((~total.isfinite()).nonzero()[0])
            raise DataError(f"{where} has no finite posterior at frame {frame}; check what wrote it")
        if self._kind == "log_probs" and (total.exp() - 1).abs().max() > _SLACK:
            frame = int((total.exp() - 1).abs().argmax())
            raise DataError(
                f"{where} has probabilities that add up to {float(total[frame].exp()):.4g} at frame {frame}; write "
                f'log-probabilities, or "kind": "logits" in {NAME}'
            )
        return rows - total[:, None]


class TranscriptTeacher:
    """A `SequenceTeacher` that reads what another toolkit wrote."""

    sample_rate = None

    def __init__(self, directory: Path, about: dict[str, Any]) -> None:
        """Read all transcripts."""
        self.name, self._path = about["name"], directory / TRANSCRIPTS
        if not self._path.is_file():
            raise DataError(f"{self._path} is missing; write a line an utterance")
        content = self._path.read_bytes()
        self.hash = hashlib.sha256(json.dumps(about, sort_keys=True).encode() + content).hexdigest()[:16]
        self._entries: dict[str, list[TeacherTranscript]] = {}
        for number, raw in enumerate(content.splitlines(), 1):
            where = f"{self._path}, line {number}"
            try:
                value = json.loads(decode_line(raw, where))
                found = [
                    TeacherTranscript(" ".join(one["text"].split()), float(one["log_prob"]))
                    for one in value["hypotheses"]
                ]
                utterance = value["id"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f'{where}: expected {{"id": ..., "hypotheses": [{{"text": ..., "log_prob": ...}}]}} ({error!r})'
                ) from error
            if utterance in self._entries:
                raise DataError(f"{where}: utterance {utterance!r} is there already; keep one of the lines")
            if not found or not all(math.isfinite(one.log_prob) for one in found):
                raise DataError(f"{where}: utterance {utterance!r} needs hypotheses with finite log-probabilities")
            self._entries[utterance] = found

    def transcribe(self, speech: Sequence[Speech], n: int) -> list[list[TeacherTranscript]]:
        """See SequenceTeacher; no audio is read. DataError for an utterance that has no line."""
        for one in speech:
            if one.id not in self._entries:
                raise DataError(
                    f"{self._path} has no line for utterance {one.id!r}; write it with the teacher's toolkit"
                )
        return [self._entries[one.id][:n] for one in speech]


def open_files(directory: Path | str) -> FileTeacher | TranscriptTeacher:
    """A directory as another toolkit wrote it, see above.

    Raises:
        ConfigError: a description that lacks something or makes no sense.
        DataError: a file that is missing, truncated or does not fit the description.
    """
    directory = Path(directory)
    path = directory / NAME
    about = read_json(path)
    if about.get("kind") not in KINDS:
        raise ConfigError(f"{path}: kind is {about.get('kind')!r}; expected one of {', '.join(KINDS)}")
    check_fields(path, about, {"name", "kind"} if about["kind"] == "transcripts" else FIELDS)
    return (TranscriptTeacher if about["kind"] == "transcripts" else FileTeacher)(directory, about)


def _header(file: Path) -> bytes:
    """The JSON header of a safetensors file; DataError if the file does not end where it says."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        raw = stream.read(min(length, size))
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in json.loads(raw).items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is no safetensors file, or its header is damaged; write it again") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise DataError(f"{file} has {size} bytes and its header promises {expected}; it breaks off, write it again")
    return raw


@lru_cache(maxsize=16)
def _opened(file: Path, *state: int) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, "pt")
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file} cannot be read ({error}); write it again") from error
