"""Decode a data directory with a trained model: ``text`` (Kaldi), ``hyp.trn`` (sclite), ``hyp.jsonl`` (confidences)."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from seqkd.data.batches import evaluation_batches, load_corpus
from seqkd.data.features import finished_features
from seqkd.decoding.confidence import token_confidences, word_confidences
from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.prefix_beam import prefix_beam_search
from seqkd.errors import DataError
from seqkd.files import write_json, write_text
from seqkd.layout import run_directory
from seqkd.models.ctc import load_model
from seqkd.models.storage import model_hash

log = logging.getLogger("seqkd")


def decode_run(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """Decode set ``name`` with ``exp/<system>/seed<k>/model``; do nothing if that was done with the same weights."""
    run = run_directory(cfg, system, seed)
    if not (run / "model" / "model.safetensors").is_file():
        raise DataError(f"{run} has no finished model; run stage {3 if system == 'teacher' else 6} first")
    output = run / f"decode_{name}"
    features = finished_features(Path(cfg.data) / name)
    made_by = {"model": model_hash(run / "model"), "beam": cfg.decode.beam, "features": features}
    stamp = output / "decode.json"
    # hyp.jsonl: what an earlier version decoded lacks it.
    if stamp.is_file() and json.loads(stamp.read_text()) == made_by and (output / "hyp.jsonl").is_file():
        return
    hypotheses = recognize(
        run / "model", Path(cfg.data), name, cfg.decode.beam, cfg.decode.max_duration, bool(cfg.ngpu)
    )
    inside = sorted(hypotheses.items())
    write_text(output / "text", "".join(f"{u} {one.text}".rstrip() + "\n" for u, one in inside))
    write_text(output / "hyp.trn", "".join(f"{one.text} ({u})".lstrip() + "\n" for u, one in inside))
    entries = ({"id": u, "text": one.text, "confidences": [round(c, 5) for c in one.confidences]} for u, one in inside)
    write_text(output / "hyp.jsonl", "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
    write_json(stamp, made_by)
    log.info("%s: %d utterances", output, len(hypotheses))


@dataclass(frozen=True)
class Decoded:
    """A transcript, and the probability of each of its words."""

    text: str
    confidences: list[float]


def decode(model_dir: Path, data: Path, name: str, beam: int, max_duration: float, gpu: bool) -> dict[str, str]:
    """Return the transcripts of `recognize`."""
    return {u: one.text for u, one in recognize(model_dir, data, name, beam, max_duration, gpu).items()}


@torch.no_grad()
def recognize(model_dir: Path, data: Path, name: str, beam: int, max_duration: float, gpu: bool) -> dict[str, Decoded]:
    """Hypotheses by utterance id; ``beam`` 1 is greedy. Features must be those the model was trained on."""
    model, tokenizer = load_model(model_dir)
    device = torch.device("cuda" if gpu else "cpu")
    model.to(device)
    corpus = load_corpus(data, [], tokenizer, unlabelled=[name])
    if corpus.store.settings != model.features:
        raise DataError(
            f"{data / name} has features {corpus.store.settings}, the model of {model_dir} {model.features}"
        )
    hypotheses = {}
    for batch in evaluation_batches(corpus, max_duration):
        output = model(batch.features.to(device), batch.feature_lengths.to(device))
        if beam == 1:
            best = greedy_decode(output.logits, output.lengths)
        else:
            nbest = prefix_beam_search(output.logits.cpu(), output.lengths.cpu(), beam_size=beam)
            best = [hypothesis[0].tokens for hypothesis in nbest]
        for utterance, logits, length, tokens in zip(batch.ids, output.logits, output.lengths, best, strict=True):
            sure = token_confidences(logits[:length], tokens, blank=tokenizer.blank)
            hypotheses[utterance] = Decoded(tokenizer.decode(tokens), word_confidences(tokens, sure, tokenizer.decode))
    return hypotheses
