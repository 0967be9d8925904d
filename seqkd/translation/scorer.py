"""Scores of translations: BLEU and chrF by sacreBLEU, and how well the model knows what it knows.

- BLEU (Papineni et al. 2002) and chrF2 (Popović 2015) are sacreBLEU's (Post 2018), to be quoted with the signatures.
- NLL, Brier score and token ECE: teacher-forced, of every reference token (`seqkd.translation.forced`).
- Inference ECE: of the decoded tokens (`seqkd.translation.inference`).

BLEU and chrF run from 0 to 100, NLL is in nats a token, the Brier score runs from 0 to 2, ECEs are fractions.

Legend: N sentences, K tokens, M bins of confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.statistics.calibration import Calibration
from seqkd.translation.bootstrap import Estimates, estimate
from seqkd.translation.files import Translation, check_ids
from seqkd.translation.forced import Forced, gaps_by_sentence
from seqkd.translation.inference import EDIT, correct_tokens
from seqkd.translation.measures import Sums

Encode = Callable[[str], Sequence[int]]  # a tokenizer's encoding of a text, without the end of the sentence


@dataclass(frozen=True)
class Sentences:
    """One decoding of a test set, measured sentence by sentence.

    Attributes:
        sums: N rows, in the order of `TranslationScorer.ids`.
        forced: calibration of the reference tokens.
        decoded: calibration of the decoded tokens.
    """

    sums: Sums
    forced: Calibration
    decoded: Calibration


class TranslationScorer:
    """The references of a test set, prepared once for any number of decodings.

    Attributes:
        ids: sentence ids, sorted, so that nothing depends on the order of a file.
        signatures: sacreBLEU's of BLEU and chrF.
    """

    def __init__(
        self,
        references: Mapping[str, str],
        encode: Encode,
        *,
        bins: int = 15,
        alignment: str = EDIT,
        tokenize: str = "13a",
    ):
        """Prepare references.

        Args:
            references: texts by sentence id.
            encode: the tokenizer that the model was trained with.
            bins: M, of the calibration errors.
            alignment: what decides which decoded tokens are correct; see `seqkd.translation.inference`.
            tokenize: sacreBLEU's tokenizer for BLEU; 13a, its default, suits European languages.

        Raises:
            DataError: there are no references.
            ConfigError: sacreBLEU is missing or does not know the tokenizer.
        """
        try:
            from sacrebleu.metrics import BLEU, CHRF
        except ImportError:
            raise ConfigError(
                "scoring translations needs sacrebleu, which is not installed: pip install sacrebleu"
            ) from None
        if not references:
            raise DataError("There are no references.")
        if tokenize not in BLEU.TOKENIZERS:
            raise ConfigError(f"tokenize is {tokenize!r}; sacreBLEU knows {', '.join(BLEU.TOKENIZERS)}")
        self.ids = sorted(references)
        self.bins, self.alignment = bins, alignment
        texts = [references[sentence] for sentence in self.ids]
        self._tokens = [list(encode(text)) for text in texts]
        # force: text that looks tokenised is scored as it is, without a line on the terminal for every run.
        self._metrics = (BLEU(tokenize=tokenize, force=True, references=[texts]), CHRF(references=[texts]))
        self.signatures = {
            name: str(metric.get_signature()) for name, metric in zip(("bleu", "chrf"), self._metrics, strict=True)
        }

    def measure(self, translations: Mapping[str, Translation], forced: Forced) -> Sentences:
        """Measure one decoding sentence by sentence; DataError, without a file's name, if its ids are others."""
        check_ids(dict.fromkeys(self.ids), translations)
        forced = forced.of(self.ids)
        for sentence, found, tokens in zip(self.ids, forced.lengths, self._tokens, strict=True):
            if found != len(tokens) + 1:
                raise DataError(
                    f"there are {found} teacher-forced predictions for sentence {sentence}, but its reference has "
                    f"{len(tokens)} tokens and an end; decode again with the tokenizer and references of this scoring."
                )
        ours = [translations[sentence] for sentence in self.ids]
        # sacreBLEU's numbers of each sentence, of which its own bootstrap computes scores.
        texts = [one.text for one in ours]
        bleu, chrf = (np.array(metric._extract_corpus_statistics(texts, None), float) for metric in self._metrics)
        correct = correct_tokens([one.tokens for one in ours], self._tokens, self.alignment)
        confidence = np.fromiter((value for one in ours for value in one.confidences), float)
        lengths = np.array([len(one.tokens) for one in ours])
        place = np.repeat(np.arange(len(ours)), forced.lengths)  # (K,) the sentence of each reference token
        of_forced = [forced.lengths, np.bincount(place, forced.nll), np.bincount(place, forced.brier)]
        gaps = gaps_by_sentence(forced.confidence, forced.correct, forced.lengths, self.bins)
        of_decoded = gaps_by_sentence(confidence, correct, lengths, self.bins)
        return Sentences(
            Sums(bleu, chrf, np.column_stack([*of_forced, gaps]), np.column_stack([lengths, of_decoded])),
            forced.calibration(self.bins),
            Calibration(self.bins).update(confidence, correct),
        )

    def describe(self, sums: Sums) -> dict[str, Any]:
        """Say what sacreBLEU's BLEU is made of, and score exactly as it does; ``sums`` as `Sentences.sums`."""
        bleu, chrf = (
            metric._compute_score_from_stats([int(value) for value in part.sum(axis=0)])
            for metric, part in zip(self._metrics, (sums.bleu, sums.chrf), strict=True)
        )
        return {
            "bleu": bleu.score,
            "chrf": chrf.score,
            "precisions": list(bleu.precisions),
            "brevity_penalty": bleu.bp,
            "hypothesis_words": bleu.sys_len,
            "reference_words": bleu.ref_len,
        }


@dataclass(frozen=True)
class TranslationScore:
    """All scores of one decoding.

    Attributes:
        estimates: value and interval of each measure, by `Measure.key`.
        sacrebleu: see `TranslationScorer.describe`.
        signatures: of BLEU and chrF.
        sentences: how many there are.
        forced: calibration of the reference tokens.
        decoded: calibration of the decoded tokens.
    """

    estimates: Estimates
    sacrebleu: dict[str, Any]
    signatures: dict[str, str]
    sentences: int
    forced: Calibration
    decoded: Calibration


def score_translations(
    references: Mapping[str, str],
    translations: Mapping[str, Translation],
    forced: Forced,
    encode: Encode,
    *,
    bins: int = 15,
    alignment: str = EDIT,
    tokenize: str = "13a",
    replicates: int = 1000,
    seed: int = 0,
) -> TranslationScore:
    """Score one decoding of a test set.

    Args:
        references: texts by sentence id.
        translations: what was decoded, by sentence id; see `read_translations`.
        forced: teacher-forced predictions of the references; see `read_forced`.
        encode: the tokenizer that the model was trained with.
        bins: of the calibration errors.
        alignment: ``edit`` or ``ter``; see `seqkd.translation.inference`.
        tokenize: sacreBLEU's tokenizer for BLEU.
        replicates: bootstrap replicates of the intervals.
        seed: of the resampling.

    Raises:
        DataError: ids or lengths differ.
        ConfigError: a setting is none that there is.
    """
    scorer = TranslationScorer(references, encode, bins=bins, alignment=alignment, tokenize=tokenize)
    measured = scorer.measure(translations, forced)
    (estimates,) = estimate({"system": [measured.sums]}, replicates=replicates, seed=seed).values()
    return TranslationScore(
        estimates,
        scorer.describe(measured.sums),
        scorer.signatures,
        len(scorer.ids),
        measured.forced,
        measured.decoded,
    )
