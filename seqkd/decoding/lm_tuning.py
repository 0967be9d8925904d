"""Choosing the weights of language model decoding on dev, with the model's outputs computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from seqkd.data.kaldi import read_data_dir
from seqkd.decoding.blank_penalty import penalty_of
from seqkd.decoding.fusion import fusion_of
from seqkd.decoding.outputs import outputs
from seqkd.decoding.word_beam import WordSearch, word_beam_search
from seqkd.errors import ConfigError, DataError
from seqkd.layout import run_directory
from seqkd.models.ctc import load_model

LM_WEIGHTS = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)
WORD_SCORES = (-1.0, 0.0, 1.0, 2.0)


@dataclass(frozen=True)
class Trial:
    """One pair of weights and the word error rate on dev (0 to 1)."""

    lm_weight: float
    word_score: float
    wer: float


@dataclass(frozen=True)
class LmTuning:
    """What was tried, in that order."""

    trials: list[Trial]

    @property
    def best(self) -> Trial:
        """The least error rate; of equals the smaller weight, then the smaller word score in size."""
        return min(self.trials, key=lambda trial: (trial.wer, trial.lm_weight, abs(trial.word_score)))

    def table(self) -> str:
        """Markdown, best first."""
        lines = ["| decode.lm_weight | decode.word_score | dev WER % |", "|---:|---:|---:|"]
        for trial in sorted(self.trials, key=lambda trial: (trial.wer, trial.lm_weight, trial.word_score)):
            lines.append(f"| {trial.lm_weight:g} | {trial.word_score:g} | {100 * trial.wer:.2f} |")
        return "\n".join(lines) + "\n"


def tune_lm(
    cfg: DictConfig,
    system: str,
    seed: int = 0,
    *,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    word_scores: Sequence[float] = WORD_SCORES,
) -> LmTuning:
    """Search for ``decode.lm_weight`` and ``decode.word_score`` on ``sets.dev``. The test sets are not touched.

    One weight at a time: all ``lm_weights`` with the word score of the settings, then all ``word_scores`` with the
    best of them, and so on in turn until nothing is better. No pair is tried twice.

    Args:
        cfg: Settings with ``decode.lm`` and a beam.
        system: The system whose trained model is to be decoded.
        seed: Its seed.
        lm_weights: To try; the settings' own is tried with them.
        word_scores: Likewise.

    Raises:
        ConfigError: There is no ``decode.lm``.
        DataError: The model or the set is not ready, or dev has no transcripts.
    """
    from seqkd.progress import ProgressBar
    from seqkd.scoring import score

    fusion = fusion_of(cfg)
    if fusion is None or fusion.lm is None:
        raise ConfigError("decode.lm is not set: there is no language model whose weight could be chosen")
    data, name = Path(cfg.data), cfg.sets.dev
    references = {utterance.id: utterance.text for utterance in read_data_dir(data / name)}
    if None in references.values():
        raise DataError(f"{data / name} has no transcripts to choose weights by; name a labelled set in sets.dev")
    run = run_directory(cfg, system, seed)
    model, tokenizer = load_model(run / "model")
    batches = list(outputs(model, tokenizer, data, name, cfg.decode.max_duration, bool(cfg.ngpu)))
    search = fusion.word_search(tokenizer, cfg.decode.beam)
    penalty = penalty_of(cfg, run, fusion)
    tried: dict[tuple[float, float], Trial] = {}

    def attempt(lm_weight: float, word_score: float) -> Trial:
        if (lm_weight, word_score) not in tried:
            one: WordSearch = replace(search, lm_weight=lm_weight, word_score=word_score)
            hypotheses = {}
            for batch in ProgressBar(batches, desc=f"lm_weight {lm_weight:g}, word_score {word_score:g}"):
                found = word_beam_search(batch.logits, batch.lengths, one, blank_penalty=penalty)
                hypotheses |= {
                    u: tokenizer.decode(best[0].tokens) if best else ""
                    for u, best in zip(batch.ids, found, strict=True)
                }
            tried[lm_weight, word_score] = Trial(lm_weight, word_score, score(references, hypotheses).wer.rate)
        return tried[lm_weight, word_score]

    attempt(search.lm_weight, search.word_score)
    while True:
        before = LmTuning(list(tried.values())).best
        for lm_weight in lm_weights:
            attempt(float(lm_weight), before.word_score)
        middle = LmTuning(list(tried.values())).best
        for word_score in word_scores:
            attempt(middle.lm_weight, float(word_score))
        if LmTuning(list(tried.values())).best == before:
            return LmTuning(list(tried.values()))
