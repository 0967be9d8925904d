"""An export directory on disk: its files, and reading it again.

Every file is checked against the hash that ``export.json`` states before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqkd.data.features import FeatureSettings
from seqkd.data.tokens import Tokenizer
from seqkd.deploy.network import OnnxNetwork
from seqkd.deploy.words import FrameTimes
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_directory, lock, write_json
from seqkd.uptodate import as_json

FORMAT = 1
RECOGNISER, CLASSIFIER = "speech recogniser", "classifier"  # what an export is of
FLOAT, INT8, PROGRAM = "model.onnx", "model.int8.onnx", "model.pt2"
STREAM, STREAM_INT8 = "stream.onnx", "stream.int8.onnx"  # of a model that streams
FILES = (FLOAT, INT8, PROGRAM, "tokenizer.model", "tokenizer.json", "features.json", "README.md")

FBANK = {  # how `seqkd.data.features.fbank` computes features, but for its settings
    "kind": "Kaldi log-mel filterbank energies, as torchaudio.compliance.kaldi.fbank computes them",
    "window": "povey",
    "sample_scale": 32768,  # samples in [-1, 1] are multiplied by it
    "dither": 0.0,
    "snip_edges": False,
    "normalisation": "none: the network normalises its input itself",
}


@dataclass(frozen=True)
class Bundle:
    """What transcribing needs: ``network``, ``tokenizer``, ``features`` and where output frames lie in time.

    ``blank_penalty`` was chosen for this model on dev: it is subtracted from the blank's logit.
    """

    network: OnnxNetwork
    tokenizer: Tokenizer
    features: FeatureSettings
    times: FrameTimes
    blank_penalty: float = 0.0


@contextlib.contextmanager
def export_directory(out: Path, of: str = RECOGNISER) -> Iterator[Path]:
    """Yield a temporary directory that becomes ``out``; only an export of the same kind, or nothing, may be there.

    Raises ConfigError where something else is there, or nothing can be written.
    """
    if out.exists() and not (out / "export.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there and is not an export; name a directory that is new or empty")
    with contextlib.suppress(DataError):  # what is damaged may be written again
        if (other := _exported(out).get("of", RECOGNISER)) != of:
            raise ConfigError(f"{out} holds a {other}, not a {of}; name a directory that is new or empty")
    try:
        with lock(out.parent / f".{out.name}.lock", str(out)):
            for left in out.parent.glob(f".tmp-{out.name}-*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with atomic_directory(out) as directory:
                yield directory
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({error.strerror or error}); choose another --out") from error


def describe_files(directory: Path, names: Sequence[str] = FILES) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of each file."""
    return {name: _describe(directory / name) for name in names}


def write_features(path: Path, settings: FeatureSettings, frame_shift_ms: float) -> None:
    """Write ``features.json``: all that computing the network's input takes, and what its output frames are."""
    write_json(
        path,
        {
            **FBANK,
            "settings": asdict(settings),
            "output_frame_shift_ms": frame_shift_ms,
            "blank": Tokenizer.blank,
        },
    )


def read_export(directory: Path, of: str = RECOGNISER) -> dict[str, Any]:
    """The content of ``export.json``. Raises DataError when the directory holds none that this version can read.

    ``of`` is what is expected, `RECOGNISER` or `CLASSIFIER`; DataError, too, where it is an export of the other.
    """
    found = _exported(directory)
    if (other := found.get("of", RECOGNISER)) != of:
        raise DataError(f"{directory} is the export of a {other}, but one of a {of} is needed; name another by --model")
    return found


def _exported(directory: Path) -> dict[str, Any]:
    """What any kind's export.json holds."""
    path = directory / "export.json"
    if not path.is_file():
        raise DataError(f"{directory} has no export.json; expected a directory written by 'seqkd export'")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        written = found["format"], {name: one["sha256"] for name, one in found["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); export the model again") from error
    if written[0] != FORMAT:
        raise DataError(f"{path} has format {written[0]!r}, but this version reads {FORMAT}; export the model again")
    return found


def check_file(directory: Path, name: str, export: dict[str, Any]) -> None:
    """Raise DataError when a file is missing or not the one that was exported."""
    path = directory / name
    if not path.is_file():
        raise DataError(f"{path} is missing; export the model again")
    stated, found = export["files"].get(name, {}).get("sha256"), _describe(path)["sha256"]
    if stated is None:
        raise DataError(f"{directory / 'export.json'} is damaged (it lacks {name}); export the model again")
    if stated != found:
        raise DataError(
            f"{path} has SHA-256 {found[:16]}…, but export.json says {stated[:16]}…: it is damaged or belongs to "
            "another model; export the model again"
        )


def is_whole(directory: Path, made_by: dict[str, Any], names: Sequence[str] = FILES, of: str = RECOGNISER) -> bool:
    """Whether the directory holds a whole export made by exactly this, with all the files."""
    try:
        export = read_export(directory, of)
        for name in names:
            check_file(directory, name, export)
    except DataError:
        return False
    return export.get("made_by") == as_json(made_by)


def open_bundle(directory: Path, *, int8: bool = False, threads: int = 1) -> Bundle:
    """Open an export directory, by default with the float network.

    Raises DataError when a file is missing, damaged or not of this export.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory; expected one written by 'seqkd export'")
    export, name = read_export(directory), INT8 if int8 else FLOAT
    for needed in (name, "tokenizer.model", "tokenizer.json", "features.json"):
        check_file(directory, needed, export)
    described = json.loads((directory / "features.json").read_text(encoding="utf-8"))
    settings = FeatureSettings(**described["settings"])
    times = FrameTimes(described["output_frame_shift_ms"] / 1000, settings.frame_shift_ms / 2000)
    penalty = float(export.get("decoding", {}).get("blank_penalty", 0.0))
    return Bundle(OnnxNetwork(directory / name, threads), Tokenizer.load(directory), settings, times, penalty)


def _describe(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
