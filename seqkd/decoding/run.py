"""Decode a data directory with a trained model: ``text`` (Kaldi), ``hyp.trn`` (sclite), ``hyp.jsonl`` (confidences)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqkd.data.features import finished_features
from seqkd.decoding.blank_penalty import penalty_of
from seqkd.decoding.confidence import token_confidences, word_confidences
from seqkd.decoding.fusion import Fusion, fusion_of
from seqkd.decoding.inputs import penalised
from seqkd.decoding.outputs import best_tokens, outputs
from seqkd.errors import DataError
from seqkd.files import write_text
from seqkd.models.ctc import load_model
from seqkd.models.storage import model_hash
from seqkd.stages import again
from seqkd.uptodate import is_current, write_stamp

log = logging.getLogger("seqkd")


def decode_run(cfg: DictConfig, run: Path, name: str) -> None:
    """Decode set ``name`` with ``<run>/model``; do nothing if that was done with the same weights."""
    system = run.parent.name
    if not (run / "model" / "model.safetensors").is_file():
        raise DataError(f"{run} has no finished model; {again('teachers' if system == 'teacher' else 'students')}")
    output = run / f"decode_{name}"
    features = finished_features(Path(cfg.data) / name)
    fusion = fusion_of(cfg)
    made_by = {"model": model_hash(run / "model"), "beam": cfg.decode.beam, "features": features}
    made_by |= {"words": fusion.fingerprint()} if fusion else {}
    penalty = penalty_of(cfg, run, fusion)
    made_by |= {"blank_penalty": penalty} if penalty else {}
    stamp = output / "decode.json"
    # hyp.jsonl: what an earlier version decoded lacks it.
    if is_current(stamp, made_by, *(output / name for name in ("text", "hyp.trn", "hyp.jsonl"))):
        return
    hypotheses = recognize(
        run / "model", Path(cfg.data), name, cfg.decode.beam, cfg.decode.max_duration, bool(cfg.ngpu), fusion, penalty
    )
    write_decoded(output, hypotheses, made_by)


@dataclass(frozen=True)
class DecodedSpeech:
    """A transcript, and the probability of each of its words."""

    text: str
    confidences: list[float]


def write_decoded(output: Path, hypotheses: Mapping[str, DecodedSpeech], made_by: Mapping[str, Any]) -> None:
    """Write the files of a decoding, last ``decode.json``, which says what it was made by.

    Without confidences (of a teacher that states none) there is no ``hyp.jsonl``.
    """
    (output / "decode.json").unlink(missing_ok=True)  # it vouches for what is written now
    inside = sorted(hypotheses.items())
    write_text(output / "text", "".join(f"{u} {one.text}".rstrip() + "\n" for u, one in inside))
    write_text(output / "hyp.trn", "".join(f"{one.text} ({u})".lstrip() + "\n" for u, one in inside))
    (output / "hyp.jsonl").unlink(missing_ok=True)
    if all(len(one.confidences) == len(one.text.split()) for _, one in inside):
        entries = (
            {"id": u, "text": one.text, "confidences": [round(c, 5) for c in one.confidences]} for u, one in inside
        )
        write_text(output / "hyp.jsonl", "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
    write_stamp(output / "decode.json", made_by)
    log.info("%s: %d utterances", output, len(hypotheses))


def decode(model_dir: Path, data: Path, name: str, beam: int, max_duration: float, gpu: bool) -> dict[str, str]:
    """Transcripts by utterance id.

    Args:
        model_dir: of a model trained here.
        data: directory with the set.
        name: of the set, whose features are finished.
        beam: hypotheses that the search keeps; 1 is greedy.
        max_duration: seconds of audio in a batch.
        gpu: whether the network runs on the GPU.

    Raises:
        DataError: a model or features that are missing, damaged, or do not fit each other.
    """
    return {u: one.text for u, one in recognize(model_dir, data, name, beam, max_duration, gpu).items()}


def recognize(
    model_dir: Path,
    data: Path,
    name: str,
    beam: int,
    max_duration: float,
    gpu: bool,
    fusion: Fusion | None = None,
    blank_penalty: float = 0.0,
) -> dict[str, DecodedSpeech]:
    """Transcripts and the confidences of their words, by utterance id.

    Args:
        model_dir: of a model trained here.
        data: directory with the set.
        name: of the set, whose features are finished.
        beam: hypotheses that the search keeps; 1 is greedy.
        max_duration: seconds of audio in a batch.
        gpu: whether the network runs on the GPU.
        fusion: with it, transcripts are made of a lexicon's words.
        blank_penalty: is taken from the blank's logit.

    Raises:
        DataError: a model or features that are missing, damaged, or do not fit each other.
    """
    model, tokenizer = load_model(model_dir)
    search = fusion.word_search(tokenizer, beam) if fusion else None
    hypotheses = {}
    for batch in outputs(model, tokenizer, data, name, max_duration, gpu):
        best = best_tokens(batch, beam, search, blank_penalty)
        seen = penalised(batch.logits, tokenizer.blank, blank_penalty)
        for utterance, logits, length, tokens in zip(batch.ids, seen, batch.lengths, best, strict=True):
            sure = token_confidences(logits[:length], tokens, blank=tokenizer.blank)
            hypotheses[utterance] = DecodedSpeech(
                tokenizer.decode(tokens), word_confidences(tokens, sure, tokenizer.decode)
            )
    return hypotheses
