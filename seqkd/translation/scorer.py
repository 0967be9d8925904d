"""Counts of translations, of which scores are made: BLEU and chrF as sacreBLEU, and calibration.

- BLEU (Papineni et al. 2002) and chrF2 (Popović 2015) are sacreBLEU's (Post 2018), to be quoted with the signatures.
- NLL, Brier score and token ECE: teacher-forced, of every reference token (`seqkd.translation.forced`).
- Inference ECE: of the decoded tokens (`seqkd.translation.inference`).

BLEU and chrF run from 0 to 100, NLL is in nats a token, the Brier score runs from 0 to 2, ECEs are fractions.

Legend: N sentences, K tokens, M bins of confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.statistics.calibration import Calibration, bins_by_item
from seqkd.statistics.table import Table
from seqkd.translation.files import Translation, check_ids
from seqkd.translation.forced import Forced
from seqkd.translation.inference import EDIT, correct_tokens

Encode = Callable[[str], Sequence[int]]  # a tokenizer's encoding of a text, without the end of the sentence


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

    def measure(self, translations: Mapping[str, Translation], forced: Forced) -> Table:
        """Count one decoding, a row a sentence, in the columns of `seqkd.translation.measures`.

        Raises:
            DataError: its ids, or its numbers of tokens, are not those of the references; no file is named.
        """
        ours, forced = self._matched(translations, forced)
        # sacreBLEU's numbers of each sentence, of which its own bootstrap computes scores.
        texts = [one.text for one in ours]
        bleu, chrf = (np.array(metric._extract_corpus_statistics(texts, None), float) for metric in self._metrics)
        place = np.repeat(np.arange(len(ours)), forced.lengths)  # (K,) the sentence of each reference token
        columns = {
            "bleu": bleu,
            "chrf": chrf,
            "tokens": forced.lengths,
            "nll": np.bincount(place, forced.nll, minlength=len(ours)),
            "brier": np.bincount(place, forced.brier, minlength=len(ours)),
            "forced": bins_by_item(forced.confidence, forced.correct, forced.lengths, self.bins),
            "decoded": bins_by_item(*self._decoded(ours), [len(one.tokens) for one in ours], self.bins),
        }
        return Table(tuple(self.ids), columns)

    def calibrations(self, translations: Mapping[str, Translation], forced: Forced) -> tuple[Calibration, Calibration]:
        """Return the calibration of the reference tokens and of the decoded ones; faults as of `measure`."""
        ours, forced = self._matched(translations, forced)
        return forced.calibration(self.bins), Calibration(self.bins).update(*self._decoded(ours))

    def _matched(self, translations: Mapping[str, Translation], forced: Forced) -> tuple[list[Translation], Forced]:
        """Return both in the order of the references."""
        check_ids(dict.fromkeys(self.ids), translations)
        forced = forced.of(self.ids)
        for sentence, found, tokens in zip(self.ids, forced.lengths, self._tokens, strict=True):
            if found != len(tokens) + 1:
                raise DataError(
                    f"there are {found} teacher-forced predictions for sentence {sentence}, but its reference has "
                    f"{len(tokens)} tokens and an end; decode again with the tokenizer and references of this scoring."
                )
        return [translations[sentence] for sentence in self.ids], forced

    def _decoded(self, ours: Sequence[Translation]) -> tuple[np.ndarray, np.ndarray]:
        """Return the confidence of each decoded token, and whether it is right."""
        correct = correct_tokens([one.tokens for one in ours], self._tokens, self.alignment)
        return np.fromiter((value for one in ours for value in one.confidences), float), correct

    def describe(self, table: Table) -> dict[str, Any]:
        """Return what sacreBLEU's BLEU is made of, and its own scores to the last digit, from a table of `measure`."""
        bleu, chrf = (
            metric._compute_score_from_stats([int(value) for value in table.columns[name].sum(axis=0)])
            for metric, name in zip(self._metrics, ("bleu", "chrf"), strict=True)
        )
        return {
            "bleu": bleu.score,
            "chrf": chrf.score,
            "precisions": list(bleu.precisions),
            "brevity_penalty": bleu.bp,
            "hypothesis_words": bleu.sys_len,
            "reference_words": bleu.ref_len,
        }
