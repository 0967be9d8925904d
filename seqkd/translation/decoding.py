"""Decode sentence pairs with a trained model, and measure the probabilities that it gives the reference.

``decode_<set>/`` receives ``text`` (``<id> <text>``), ``hyp.jsonl`` (tokens and their confidences) and ``forced.npz``,
what the model predicts at each position when it is given the reference up to there.

Letters: N sentences, K their reference positions, boundaries included; B, S, C as in training.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from seqkd.data.tokens import Tokenizer
from seqkd.decoding.beam import TextHypothesis, beam_search
from seqkd.errors import DataError
from seqkd.files import atomic_path, write_text
from seqkd.models.seq2seq import Seq2SeqModel, load_seq2seq
from seqkd.models.storage import model_hash
from seqkd.progress import ProgressBar
from seqkd.stages import again
from seqkd.translation.batches import IGNORE, TextCorpus, encode_pairs, evaluation_text
from seqkd.translation.pairs import pairs_fingerprint, read_pairs
from seqkd.uptodate import is_current, write_stamp

log = logging.getLogger("seqkd")


def decode_run(cfg: DictConfig, run: Path, name: str) -> Path:
    """Decode set ``name`` with ``<run>/model``; do nothing if that was done with the same weights."""
    if not (run / "model" / "model.safetensors").is_file():
        raise DataError(f"{run} has no finished model; {again('teachers')}")
    output = run / f"decode_{name}"
    pairs = read_pairs(Path(cfg.data) / name)
    settings = {"beam": cfg.decode.beam, "length_penalty": cfg.decode.length_penalty}
    made_by = {"model": model_hash(run / "model"), "pairs": pairs_fingerprint(pairs), **settings}
    stamp = output / "decode.json"
    if is_current(stamp, made_by):
        return output
    stamp.unlink(missing_ok=True)  # it vouches for what is written now
    model, tokenizer = load_seq2seq(run / "model")
    model.to("cuda" if cfg.ngpu else "cpu")
    corpus = encode_pairs(pairs, tokenizer)
    hypotheses = translate(
        model, corpus, **settings, max_tokens=cfg.decode.max_tokens, what=f"{run.parent.name} {run.name}"
    )
    write_hypotheses(output, hypotheses, tokenizer)
    write_forced(output / "forced.npz", model, corpus, cfg.decode.max_tokens)
    write_stamp(stamp, made_by)
    log.info("%s: %d sentences", output, len(hypotheses))
    return output


def translate(
    model: Seq2SeqModel,
    corpus: TextCorpus,
    *,
    beam: int,
    length_penalty: float,
    max_tokens: int,
    what: str | None = "decoding",
) -> dict[str, TextHypothesis]:
    """The best hypothesis of each sentence, in the corpus' order; with progress, unless ``what`` is None."""
    device = model.bias.device
    found: dict[str, TextHypothesis] = {}
    with ProgressBar(total=len(corpus.sources), desc=what, unit="sentence", leave=False, disable=what is None) as bar:
        # A beam takes as much room as that many sentences.
        for batch in evaluation_text(corpus, max_tokens // beam):
            source = batch.source.to(device)
            best = beam_search(model, source, batch.source_lengths, beam=beam, length_penalty=length_penalty)
            found |= {key: hypotheses[0] for key, hypotheses in zip(batch.ids, best, strict=True)}
            bar.update(len(batch.ids))
    return {key: found[key] for key in corpus.sources}


def write_hypotheses(directory: Path, hypotheses: dict[str, TextHypothesis], tokenizer: Tokenizer) -> None:
    """Write hypotheses to ``text`` (``<id> <text>``) and, with confidences, to ``hyp.jsonl``."""
    texts = {key: tokenizer.decode(one.tokens) for key, one in hypotheses.items()}
    write_text(directory / "text", "".join(f"{key} {text}".rstrip() + "\n" for key, text in texts.items()))
    lines = (
        {
            "id": key,
            "text": texts[key],
            "tokens": one.tokens,
            "confidences": [round(value, 6) for value in one.confidences],
            "end_confidence": round(one.end_confidence, 6),
            "score": round(one.score, 6),
        }
        for key, one in hypotheses.items()
    )
    write_text(directory / "hyp.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_written(directory: Path) -> dict[str, list[int]]:
    """The tokens of ``hyp.jsonl`` by id: what a student of the sequence level takes for targets."""
    with (directory / "hyp.jsonl").open(encoding="utf-8") as file:
        return {line["id"]: line["tokens"] for line in map(json.loads, file)}


@torch.no_grad()
def write_forced(path: Path, model: Seq2SeqModel, corpus: TextCorpus, max_tokens: int) -> None:
    """Arrays ``ids`` and ``lengths`` (N,); ``confidence``, ``correct``, ``nll`` (nats) and ``brier`` (K,)."""
    device = model.bias.device
    kept: dict[str, Tensor] = {}
    for batch in evaluation_text(corpus, max_tokens):
        batch = batch.to(device)
        logits = model(batch.source, batch.source_lengths, batch.inputs)
        valid = batch.targets != IGNORE
        for key, row, valid_row, targets in zip(batch.ids, logits, valid, batch.targets, strict=True):
            kept[key] = measure(row[valid_row], targets[valid_row]).cpu()
    keys = list(corpus.sources)
    confidence, correct, nll, brier = torch.cat([kept[key] for key in keys], 1).numpy()
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            ids=np.array(keys),
            lengths=np.array([kept[key].shape[1] for key in keys]),
            confidence=confidence,
            correct=correct.astype(bool),
            nll=nll,
            brier=brier,
        )


def measure(logits: Tensor, targets: Tensor) -> Tensor:
    """(4, S): greatest probability, whether it is the target's, -log of the target's, Brier score, of (S, C) logits."""
    log_probs = logits.float().log_softmax(-1)
    probs = log_probs.exp()
    confidence, best = probs.max(-1)
    nll = -log_probs.gather(1, targets[:, None])[:, 0]
    brier = probs.square().sum(-1) - 2 * (-nll).exp() + 1
    return torch.stack([confidence, (best == targets).float(), nll, brier])
