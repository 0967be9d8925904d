"""A trained CTC model as an export directory, checked against the model that it came from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqkd.data.tokens import Tokenizer
from seqkd.deploy import check, speed
from seqkd.deploy.bundle import (
    FILES,
    FLOAT,
    FORMAT,
    INT8,
    PROGRAM,
    STREAM,
    STREAM_INT8,
    describe_files,
    export_directory,
    is_whole,
    write_features,
)
from seqkd.deploy.card import write_card
from seqkd.deploy.extras import need, versions
from seqkd.deploy.graphs import trace, write_int8, write_onnx, write_program
from seqkd.deploy.network import OnnxNetwork
from seqkd.deploy.origin import Origin
from seqkd.deploy.streaming.check import check_chunk, describe_stream
from seqkd.deploy.streaming.graph import write_step
from seqkd.errors import DataError
from seqkd.files import write_json
from seqkd.models.ctc import CtcModel, load_model
from seqkd.models.storage import model_hash
from seqkd.stages import again

SPEED_SECONDS = 30.0  # of test audio that the real-time factor is measured on

log = logging.getLogger("seqkd")


@dataclass(frozen=True)
class TestSets:
    """Test sets ``names`` of directory ``data``; ``max_duration`` is the seconds of audio in a padded batch."""

    data: Path
    names: Sequence[str]
    max_duration: float = 400.0


def export_model(
    model_dir: Path,
    out: Path,
    *,
    origin: Origin | None = None,
    tests: TestSets | None = None,
    blank_penalty: float = 0.0,
) -> bool:
    """Write the export directory ``out`` of a model directory; return False when it was there, whole and up to date.

    The ONNX network and model.pt2 are compared with PyTorch on every utterance of the test sets, or on noise without
    them; the one with 8-bit weights is measured. ``blank_penalty`` is what transcribing is to subtract from the blank's
    logit; export.json states it, and the networks are left as they are. The directory appears when everything is done,
    or not at all.

    Raises:
        ConfigError: the extra ``[export]`` is not installed, or ``out`` cannot be written or holds something else.
        DataError: the model or a test set is not whole, or they do not fit each other.
        SeqkdError: an exported network disagrees with PyTorch, naming the utterance; another process is exporting.
    """
    need("onnx", "onnxscript", "onnxruntime")
    model, tokenizer = load_model(model_dir)
    check_chunk(model)
    origin = origin or Origin()
    decoding = {"decoding": {"blank_penalty": blank_penalty}} if blank_penalty else {}
    made_by = _made_by(model_dir, tokenizer, origin, tests) | decoding
    files = (*FILES, STREAM, STREAM_INT8) if model.streams else FILES
    if is_whole(out, made_by, files):
        return False
    with export_directory(out) as directory:
        program = trace(model)
        write_program(directory / PROGRAM, program)
        write_onnx(directory / FLOAT, program)
        write_int8(directory / INT8, directory / FLOAT)
        if model.streams:
            write_step(directory / STREAM, model)
            write_int8(directory / STREAM_INT8, directory / STREAM)
        tokenizer.save(directory)
        write_features(directory / "features.json", model.features, model.frame_shift_ms)
        networks = check.Networks(
            OnnxNetwork(directory / FLOAT), OnnxNetwork(directory / INT8), _load_program(directory / PROGRAM)
        )
        sets, recordings = _test_sets(model, tokenizer, tests)
        checks = {test.name: _check(model, tokenizer, networks, test, blank_penalty) for test in sets}
        export = {
            "format": FORMAT,
            "made_by": made_by,
            "parameters": sum(p.numel() for p in program.parameters()),
            "classes": model.classes,
            **decoding,
            **({"streaming": describe_stream(model, directory, sets)} if model.streams else {}),
            "checks": {"limit": check.LIMIT, "sets": checks},
            "speed": asdict(speed.measure(networks.onnx, networks.int8, model.features, recordings)),
        }
        write_card(directory, export, origin, model, tokenizer)
        write_json(directory / "export.json", {**export, "files": describe_files(directory, files)})
    return True


def _made_by(model_dir: Path, tokenizer: Tokenizer, origin: Origin, tests: TestSets | None) -> dict[str, Any]:
    """Everything that decides the content, but for what is timed."""
    from seqkd.data.features import finished_features

    return {
        "model": model_hash(model_dir),
        "tokenizer": tokenizer.hash,
        "versions": versions(),
        "origin": asdict(origin),
        "tests": {name: finished_features(tests.data / name) for name in tests.names} if tests else None,
    }


def _load_program(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: that its own buffer is read-only
        return torch.export.load(path).module()


def _test_sets(
    model: CtcModel, tokenizer: Tokenizer, tests: TestSets | None
) -> tuple[list[check.CheckSet], list[Tensor]]:
    """What to compare on, and some recordings to time."""
    if tests is None:
        noise = torch.randn(10 * model.features.sample_rate, generator=torch.Generator().manual_seed(0))
        return [check.random_features(model)], [0.1 * noise]
    from seqkd.data.batches import load_corpus
    from seqkd.data.features import read_samples
    from seqkd.data.kaldi import read_data_dir
    from seqkd.data.sampling import longest_first

    sets, recordings, audio = [], [], 0.0
    for name in tests.names:
        corpus = load_corpus(tests.data, [], tokenizer, unlabelled=[name])
        if corpus.store.settings != model.features:
            raise DataError(
                f"{tests.data / name} has features {corpus.store.settings}, the model {model.features}; "
                f"with the model's settings {again('prepare')}"
            )
        utterances = read_data_dir(tests.data / name)
        texts = {u.id: u.text for u in utterances if u.text is not None}
        batches = longest_first(corpus.seconds(), tests.max_duration)
        sets.append(check.CheckSet(name, corpus.store, batches, texts or None))
        for utterance in utterances:
            if audio >= SPEED_SECONDS:
                break
            recordings.append(read_samples(utterance, model.features.sample_rate))
            audio += len(recordings[-1]) / model.features.sample_rate
    return sets, recordings


def _check(
    model: CtcModel, tokenizer: Tokenizer, networks: check.Networks, test: check.CheckSet, blank_penalty: float
) -> dict[str, Any]:
    """Compare on one test set, with progress; what export.json says of it."""
    from seqkd.progress import ProgressBar

    with ProgressBar(total=sum(map(len, test.batches)), desc=f"checking on {test.name}", unit="utt") as bar:
        found = check.compare(model, networks, test, bar.update, blank_penalty)
    entry = {
        "utterances": found.utterances,
        "frames": found.frames,
        "largest_batch": found.largest_batch,
        "onnx_alone": found.alone,
        "onnx_in_batches": found.together,
        "program_in_batches": found.program,
        "greedy_identical": True,  # or compare would have raised
        "int8_alone": found.int8,
        "int8_utterances_changed": found.changed,
    }
    if test.references:
        from seqkd.scoring.wer import score

        for key, units in (("wer_greedy", found.units), ("int8_wer_greedy", found.int8_units)):
            texts = {name: tokenizer.decode(ids) for name, ids in units.items()}
            entry[key] = asdict(score(test.references, texts, characters=False).wer)
    log.info(
        "%s: %d utterances, ONNX within %.2g of PyTorch, text identical",
        test.name,
        found.utterances,
        max(found.alone, found.together),
    )
    return entry
