"""Scores of speech recognition: what is counted, by which evidence, and what only its report shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd.errors import ConfigError, DataError
from seqkd.experiment.files import COUNTS, SCORE
from seqkd.experiment.read import Experiment
from seqkd.experiment.scores import Scores, Undecoded, hash_of
from seqkd.scoring.measures import ECE, KINDS, MEASURES, NCE, tabulate
from seqkd.stages import again
from seqkd.statistics.table import Table
from seqkd.tasks.asr.settings import MONITOR

if TYPE_CHECKING:
    from omegaconf import DictConfig

PAGE = "score.html"


class AsrScores(Scores):
    """Word and character errors of ``decode_<set>/text``, and the calibration of the confidences in ``hyp.jsonl``.

    score.json also holds what ``seqkd score`` writes (`seqkd.scoring.schema`), and score.html shows it.
    """

    name = "asr"
    measures = MEASURES
    further = (*KINDS, ECE, NCE)
    baseline = "kd"
    monitor = MONITOR
    items = "utterances"
    units = (("words", "words"),)
    outputs = (COUNTS, SCORE, PAGE)

    def evidence(self, cfg: DictConfig, run: Path, name: str) -> dict[str, Any]:
        """Hashes of the transcripts of both sides and of ``utt2spk``."""
        decoded, data = run / f"decode_{name}", Path(cfg.data) / name
        if not (decoded / "text").is_file():
            raise Undecoded(f"{decoded} has no text; {again('decode')}")
        if not (data / "text").is_file():
            raise ConfigError(
                f"{data / 'text'} is missing: a test set needs transcripts; name another set in sets.test"
            )
        return {
            "decoding": {file: hash_of(decoded / file) for file in ("text", "hyp.jsonl")},
            "references": {file: hash_of(data / file) for file in ("text", "utt2spk")},
        }

    def count(self, cfg: DictConfig, run: Path, name: str) -> Table:
        """Errors of words and characters, and confidences by bin, of each utterance."""
        from seqkd.scoring.formats import read_jsonl, read_text
        from seqkd.scoring.wer import count

        reference, hypotheses = Path(cfg.data) / name / "text", _hypotheses(run / f"decode_{name}")
        confidences = read_jsonl(hypotheses).confidences if hypotheses.suffix == ".jsonl" else None
        texts = read_text(reference), read_text(hypotheses.with_name("text"))
        try:
            table = tabulate(count(*texts), confidences)
        except DataError as fault:
            raise DataError(f"{hypotheses} against {reference}: {fault}") from None
        if not table.columns["words"].sum():
            raise DataError(f"{reference} holds no words, so there is no error rate.")
        return table

    def details(self, cfg: DictConfig, run: Path, name: str, table: Table) -> dict[str, Any]:
        """The scorer's own score.json, and its page."""
        from seqkd.scoring.evaluate import Options, evaluate
        from seqkd.scoring.page import write_page

        decoded, data = run / f"decode_{name}", Path(cfg.data) / name
        speakers = data / "utt2spk"
        options = Options(utt2spk=speakers if speakers.is_file() else None)
        label = f"{run.parent.name} seed {run.name.removeprefix('seed')}"
        evaluation = evaluate(data / "text", {label: _hypotheses(decoded)}, options)
        write_page(decoded / PAGE, evaluation)
        return evaluation.json

    def sections(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """Kinds of errors, confidences of words, the matched-pairs test, hours of audio."""
        from seqkd.tasks.asr import sections

        return sections.sections(cfg, experiment)


def _hypotheses(decoded: Path) -> Path:
    """Return the file with confidences, if it has the same words as ``text``, else ``text``."""
    from seqkd.scoring.formats import read_jsonl, read_text

    sure, text = decoded / "hyp.jsonl", decoded / "text"
    if not sure.is_file():
        return text
    words = {utterance: line.split() for utterance, line in read_jsonl(sure).texts.items()}
    return sure if words == {utterance: line.split() for utterance, line in read_text(text).items()} else text
