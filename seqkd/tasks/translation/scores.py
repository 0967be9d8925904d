"""Scores of translations: what is counted, by which evidence, and what only their report shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd.errors import ConfigError, DataError
from seqkd.experiment.read import Experiment
from seqkd.experiment.scores import Scores, Undecoded, hash_of
from seqkd.stages import again
from seqkd.statistics.table import Table
from seqkd.tasks.translation.settings import MONITOR
from seqkd.translation.inference import EDIT
from seqkd.translation.measures import MEASURES
from seqkd.translation.scorer import TranslationScorer
from seqkd.translation.scores import INPUTS, details, read_decoding

if TYPE_CHECKING:
    from omegaconf import DictConfig


class TranslationScores(Scores):
    """BLEU, chrF, likelihood and calibration of ``decode_<set>/{hyp.jsonl,forced.npz}``."""

    name = "translation"
    measures = MEASURES
    baseline = "none"
    student = "none"
    monitor = MONITOR
    items = "sentences"
    units = (("tokens", "reference tokens"),)
    bins = 15
    alignment = EDIT
    subject = "adaptive"  # the system that the report asks about

    def evidence(self, cfg: DictConfig, run: Path, name: str) -> dict[str, Any]:
        """Hashes of both sides and of the tokenizer, and the scorer's settings."""
        decoded, reference = run / f"decode_{name}", Path(cfg.data) / name / "tgt"
        for file in INPUTS:
            if not (decoded / file).is_file():
                raise Undecoded(f"{decoded} has no {file}; {again('decode')}")
        if not reference.is_file():
            raise ConfigError(f"{reference} is missing: a test set needs references; name another set in sets.test")
        return {
            "decoding": {file: hash_of(decoded / file) for file in INPUTS},
            "references": {"tgt": hash_of(reference)},
            "tokenizer": self.tokens(cfg),
            "settings": {"bins": self.bins, "alignment": self.alignment},
        }

    def tokens(self, cfg: DictConfig) -> str:
        """Return a hash of the tokenizer."""
        from seqkd.data.tokens import Tokenizer

        return Tokenizer.load(Path(cfg.tokens.directory)).hash

    def encoder(self, cfg: DictConfig) -> Callable[[str], list[int]]:
        """Return what turns a reference into the tokens that models are asked for."""
        from seqkd.data.tokens import Tokenizer

        tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
        return lambda text: tokenizer.encode(text, unknown=True)

    def scorer(self, cfg: DictConfig, name: str) -> TranslationScorer:
        """Return the scorer of a test set."""
        from seqkd.scoring.formats import read_text

        references = read_text(Path(cfg.data) / name / "tgt")
        return TranslationScorer(references, self.encoder(cfg), bins=self.bins, alignment=self.alignment)

    def count(self, cfg: DictConfig, run: Path, name: str) -> Table:
        """Sums of each sentence; see `seqkd.translation.measures`."""
        reference, decoded = Path(cfg.data) / name / "tgt", run / f"decode_{name}"
        scorer = self.scorer(cfg, name)
        translations, forced = read_decoding(scorer, decoded, reference)
        try:
            return scorer.measure(translations, forced)
        except DataError as fault:
            raise DataError(f"{decoded / INPUTS[1]} against {reference}: {fault}") from None

    def details(self, cfg: DictConfig, run: Path, name: str, table: Table) -> dict[str, Any]:
        """sacreBLEU's own scores and signatures, and reliability diagrams."""
        return details(self.scorer(cfg, name), table, run / f"decode_{name}", Path(cfg.data) / name / "tgt")

    def legend(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """Signatures, how decoded tokens are judged, and what ECE chance alone makes."""
        from seqkd.tasks.translation import sections

        return sections.legend(self.scorer(cfg, experiment.test_sets[0]), experiment)

    def sections(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """The aim, reliability diagrams, and the amount of smoothing over time."""
        from seqkd.tasks.translation import sections

        return sections.sections(cfg, experiment, self.subject)
