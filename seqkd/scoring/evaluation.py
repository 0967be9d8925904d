"""A score of several systems: what is asked for, and everything that the outputs show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqkd.scoring.pairs import Pair
from seqkd.scoring.rates.beside import Beside
from seqkd.scoring.wer import Score
from seqkd.scoring.words import FEWEST, Costs


@dataclass(frozen=True)
class Options:
    """Options of a scoring run; every field is one of ``seqkd score`` (see `seqkd.scoring.score` for those it shares).

    Attributes:
        markup: ``alternatives`` reads ``{a / b}`` in references and hypotheses; ``all`` also ``(uh)``, a word that may
            be missing; ``auto`` reads ``{a / b}`` in trn, stm and ctm, whose formats define it; ``none`` takes all for
            plain words.
        normalize: steps of `seqkd.scoring.normalize`, separated by commas.
        glm: a mapping file.
        tokens: a sentencepiece model.
        utt2spk: who speaks; ``prefix`` takes what stands before the first ``-`` or ``_`` of an id, as sclite does.
        utt2dur: seconds of each utterance.
        utt2group: further groupings, by their names.
        nbest: n-best lists by the name of the system.
        baseline: the system that all others are compared with; each is compared with each if left out.
        confusions: how many of each kind to list.
        formats: of the files: by ``ref`` or the name of a system, or for all by the empty name; see
            `seqkd.scoring.formats.detect`. By default found by their content.
        reading: ``lenient`` reads what NIST's tools read, too, and reports it; ``strict`` keeps to the formats.
        encoding: of the transcripts.
        extra: hypotheses without a reference: an ``error``, or left out (``drop``).
        rules: regular expressions; see `seqkd.scoring.norms.expressions`.
        mixed: whether the mixed error rate is wanted: Chinese and Japanese characters, and words of other scripts.
        formatted: whether case- and punctuation-aware rates are wanted.
        keywords: lists of words and phrases, by name.
        tagged: whether phrases tagged in the references, ``<person>ada</person>``, are keywords.
        fragments: whether a word cut short, ``fi-`` or ``-ish``, is right where it fits, as with sclite's -F.
    """

    missing: str = "error"
    costs: Costs = FEWEST
    normalize: str = ""
    glm: Path | None = None
    markup: str = "auto"
    spaces: str = "count"
    tokens: Path | None = None
    utt2spk: Path | None = None
    utt2dur: Path | None = None
    utt2group: Mapping[str, Path] = field(default_factory=dict)
    nbest: Mapping[str, Path] = field(default_factory=dict)
    baseline: str | None = None
    confusions: int = 200
    formats: Mapping[str, str] = field(default_factory=dict)
    reading: str = "lenient"
    encoding: str = "utf-8"
    extra: str = "error"
    fragments: bool = False
    rules: Path | None = None
    mixed: bool = False
    formatted: bool = False
    keywords: Mapping[str, Path] = field(default_factory=dict)
    tagged: bool = False
    replicates: int = 1000
    paired_replicates: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """A finished comparison of systems: everything that the terminal, page and JSON file show.

    Attributes:
        scores: of each system.
        pairs: of systems.
        json: the content of score.json.
        durations: seconds of each utterance, where known.
        speakers: of each utterance, where known.
        further: rates beside the word error rate, of each system.
        notes: what was found in the files, and what was done to them, in sentences.
    """

    scores: dict[str, Score]
    pairs: list[Pair]
    json: dict[str, Any]
    durations: dict[str, float]
    speakers: dict[str, str]
    notes: list[str] = field(default_factory=list)
    further: dict[str, Beside] = field(default_factory=dict)
