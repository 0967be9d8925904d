"""The penalty of the blank at decoding, chosen on dev from a short list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from omegaconf import DictConfig

from seqkd.data.features import finished_features
from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.fusion import Fusion
from seqkd.decoding.outputs import BatchOutputs, best_tokens, outputs
from seqkd.decoding.word_beam import WordSearch
from seqkd.errors import DataError
from seqkd.files import write_json
from seqkd.models.ctc import load_model
from seqkd.models.storage import model_hash
from seqkd.uptodate import as_json

PENALTIES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # natural logarithms of odds


def penalty_of(cfg: DictConfig, run: Path, fusion: Fusion | None = None) -> float:
    """What ``decode.blank_penalty`` is for a run: 0 for null, the number, or for ``auto`` the best on dev.

    That is decoded as the test sets are, and kept in ``<run>/blank_penalty.json`` with the WER of every penalty; the
    same model, dev set and search are not decoded again.

    Raises:
        DataError: for ``auto``, dev has no transcripts or no features.
    """
    wanted = cfg.decode.blank_penalty
    if wanted is None or wanted != "auto":
        return float(wanted or 0.0)
    file, dev = run / "blank_penalty.json", Path(cfg.data) / cfg.sets.dev
    made_by = {"model": model_hash(run / "model"), "features": finished_features(dev), "penalties": PENALTIES}
    made_by |= {"beam": cfg.decode.beam, "words": fusion.fingerprint() if fusion else None}
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["made_by"] == as_json(made_by):
            return float(kept["chosen"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged: chosen anew
    references = {utterance.id: utterance.text for utterance in read_data_dir(dev)}
    if None in references.values():
        raise DataError(f"{dev} has no transcripts to choose decode.blank_penalty by; name a labelled set in sets.dev")
    model, tokenizer = load_model(run / "model")
    batches = list(outputs(model, tokenizer, dev.parent, dev.name, cfg.decode.max_duration, bool(cfg.ngpu)))
    search = fusion.word_search(tokenizer, cfg.decode.beam) if fusion else None
    rates = rates_of(batches, references, tokenizer, cfg.decode.beam, search)
    chosen = min(rates, key=lambda penalty: (rates[penalty], penalty))
    write_json(file, {"made_by": as_json(made_by), "dev_wer": list(map(list, rates.items())), "chosen": chosen})
    return chosen


def rates_of(
    batches: Iterable[BatchOutputs],
    references: Mapping[str, str],
    tokenizer: Tokenizer,
    beam: int,
    search: WordSearch | None,
    penalties: Iterable[float] = PENALTIES,
) -> dict[float, float]:
    """The word error rate (0 to 1) of each penalty."""
    from seqkd.scoring import score

    batches, rates = list(batches), {}
    for penalty in penalties:
        hypotheses = {
            utterance: tokenizer.decode(tokens)
            for batch in batches
            for utterance, tokens in zip(batch.ids, best_tokens(batch, beam, search, penalty), strict=True)
        }
        rates[penalty] = score(references, hypotheses).wer.rate
    return rates
