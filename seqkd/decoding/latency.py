"""What a streaming model writes, and when, at several latencies: ``latency.json`` of a decoding.

A word is emitted when its last unit is: at the end of the chunk that brings the output of the unit's first frame, as
if sound went on after the recording. How long that is after the word was spoken is measured against a forced alignment
of the reference by the teacher, whose frames are widened to the sound around them (`seqkd.deploy.boundaries`).

Letters: B utterances, T frames, C classes, S units.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqkd.ctc.alignment import forced_alignment
from seqkd.data.features import finished_features
from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.outputs import outputs
from seqkd.files import write_text
from seqkd.models.ctc import CtcModel, load_model
from seqkd.models.storage import model_hash
from seqkd.uptodate import is_current, write_stamp

if TYPE_CHECKING:
    from omegaconf import DictConfig

LATENCY, SPIKES = "latency.json", "spikes.json"


@dataclass(frozen=True)
class EmittedWords:
    """An utterance: its words, when each was emitted, and the first frame of its last unit ("spike"), in seconds."""

    words: list[str]
    emitted: list[float]
    spikes: list[float]


def decode_latencies(cfg: DictConfig, run: Path, name: str) -> None:
    """Write ``decode_<name>/latency.json`` of a streaming model, for each chunk of ``decode.chunks``, greedily.

    A chunk of 0 is the whole utterance: the same weights without limits of context.
    Of a model whose outputs depend on no chunk, there is one point. Nothing is done for other models, or where it was
    done with the same weights.
    """
    chunks = list(cfg.decode.chunks)
    if not chunks:
        return
    model, tokenizer = load_model(run / "model")
    if not model.streams:
        return
    chunks = chunks if model.encoder.chunked else [1]
    made_by = _made_by(cfg, run / "model", name) | {"chunks": chunks}
    output = run / f"decode_{name}"
    stamp = output / "latency.made"
    if is_current(stamp, made_by, output / LATENCY):
        return
    stamp.unlink(missing_ok=True)  # it vouches for what is written now
    points = []
    for chunk in chunks:
        model.encoder.chunk = chunk
        found = {u: asdict(one) for u, one in sorted(_emissions(cfg, model, tokenizer, name).items())}
        delay = model.encoder.delay
        points.append({"chunk": chunk, "delay": delay, "shift_ms": model.frame_shift_ms, "utterances": found})
    write_text(output / LATENCY, json.dumps({"points": points}) + "\n")
    write_stamp(stamp, made_by)


def align_references(cfg: DictConfig, run: Path, name: str) -> None:
    """Write ``decode_<name>/spikes.json``: frames of each word of the references, by forced alignment with ``run``."""
    if not cfg.decode.chunks or not (run / "model" / "model.safetensors").is_file():
        return
    made_by = _made_by(cfg, run / "model", name)
    output = run / f"decode_{name}"
    stamp = output / "spikes.made"
    if is_current(stamp, made_by, output / SPIKES):
        return
    stamp.unlink(missing_ok=True)
    model, tokenizer = load_model(run / "model")
    texts = {u.id: u.text for u in read_data_dir(Path(cfg.data) / name)}
    found = {}
    for batch in outputs(model, tokenizer, Path(cfg.data), name, cfg.decode.max_duration, False):
        for utterance, logits, length in zip(batch.ids, batch.logits, batch.lengths.tolist(), strict=True):
            text = texts[utterance]
            units = tokenizer.encode(text or "", unknown=True)
            repeats = sum(one == next_one for one, next_one in itertools.pairwise(units))
            if not units or len(units) + repeats > length:
                continue  # no path
            path = forced_alignment(
                logits[None, :length], torch.tensor([units]), torch.tensor([length]), torch.tensor([len(units)])
            )
            spans = word_spans(path[0], units, tokenizer.decode)
            found[utterance] = {"words": text.split(), "spans": spans}
    write_text(output / SPIKES, json.dumps({"shift_ms": model.frame_shift_ms, "utterances": found}) + "\n")
    write_stamp(stamp, made_by)


def word_spans(path: Tensor, tokens: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[list[int]]:
    """Of each word on a path (T,) of ``tokens``: first frame, frame of the last unit's begin, and the one after it."""
    labels, counts = torch.unique_consecutive(path, return_counts=True)
    ends = counts.cumsum(0)
    units = [(int(end - count), int(end)) for label, count, end in zip(labels, counts, ends, strict=True) if int(label)]
    spans: dict[int, list[int]] = {}
    before = ""
    for position, (begin, end) in enumerate(units):
        so_far = decode(tokens[: position + 1]).strip()
        word = len(so_far.split()) - 1
        if word >= 0 and so_far != before:  # a bare word boundary has no sound
            first = spans[word][0] if word in spans else begin
            spans[word] = [first, begin, end]
        before = so_far
    return [spans[word] for word in sorted(spans)]


def emission(frame: int, chunk: int, delay: int, frames: int) -> int:
    """Encoder frames that were read when the output of ``frame`` came; with a chunk of 0, all ``frames``."""
    return ((frame + delay) // chunk + 1) * chunk if chunk else frames


def _emissions(cfg: DictConfig, model: CtcModel, tokenizer: Tokenizer, name: str) -> Mapping[str, EmittedWords]:
    encoder, shift = model.encoder, model.frame_shift_ms / 1000
    found = {}
    for batch in outputs(model, tokenizer, Path(cfg.data), name, cfg.decode.max_duration, False):
        decoded = greedy_decode(batch.logits, batch.lengths)
        for utterance, logits, length, tokens in zip(
            batch.ids, batch.logits, batch.lengths.tolist(), decoded, strict=True
        ):
            spans = word_spans(logits[:length].argmax(-1), tokens, tokenizer.decode)
            read = [emission(spike, encoder.chunk, encoder.delay, length) for _, spike, _ in spans]
            found[utterance] = EmittedWords(
                tokenizer.decode(tokens).split(),
                [round(frames * shift, 3) for frames in read],
                [round(spike * shift, 3) for _, spike, _ in spans],
            )
    return found


def _made_by(cfg: DictConfig, model: Path, name: str) -> dict[str, Any]:
    return {"model": model_hash(model), "features": finished_features(Path(cfg.data) / name)}
