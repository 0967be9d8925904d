"""Scores of translations against sacreBLEU, torchmetrics and their definitions."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF
from torchmetrics.classification import BinaryCalibrationError

from seqkd.errors import ConfigError, DataError
from seqkd.experiment.scores import score
from seqkd.scoring.formats import read_text
from seqkd.statistics.table import Table
from seqkd.translation.files import Translation, read_translations
from seqkd.translation.forced import Forced, read_forced
from seqkd.translation.inference import correct_tokens
from seqkd.translation.measures import MEASURES
from seqkd.translation.scorer import TranslationScorer
from tests.experiment.report_experiment import settings
from tests.translation.made_translations import Scores, encode, make_decoding, make_references

REFERENCES = [
    'Die Option "-v" gibt, wie gesagt, mehr Meldungen aus.',
    "Der Rückgabewert ist 0, wenn alles gut ging; sonst 1.",
    "Siehe auch ls(1), cp(1) und mv(1).",
    "Ja.",
    "Diese Seite beschreibt den Systemaufruf open(2) und seine Fehler.",
]
HYPOTHESES = {
    "equal": REFERENCES,
    "near": [
        "Die Option »-v« gibt mehr Meldungen aus.",
        "Der Rückgabewert ist 0, wenn alles gut geht, sonst 1.",
        "Siehe ls(1), cp(1), mv(1).",
        "Ja.",
        "Diese Seite beschreibt open(2) und die Fehler.",
    ],
    "no n-gram of order 4": ["Die Seite", "Wert 0 wenn", "ls und mv", "Nein.", "open Fehler gut"],
    "single words only": [" ".join(reversed(line.split())) for line in REFERENCES],
    "no match": ["x y z u v", "a b c d", "q", "q", "q r s t u"],
    "shorter than four words": ["Die", "Der", "Siehe", "", "Diese"],
    "nothing": ["", "", "", "", ""],
}


def ids(texts):
    return {f"s{index}": text for index, text in enumerate(texts)}


def letters(text):
    return [ord(letter) for letter in text]


def some_forced(references, encode=letters, seed=0):
    """Predictions of no particular meaning."""
    generator = np.random.default_rng(seed)
    lengths = np.array([len(encode(text)) + 1 for text in references.values()])
    confidence, nll = generator.random(lengths.sum()), generator.exponential(size=lengths.sum())
    return Forced(tuple(references), lengths, confidence, generator.random(lengths.sum()) < confidence**2, nll, nll / 9)


def values(table):
    return {measure.key: float(measure.value(table.total())) for measure in MEASURES}


def translations(texts):
    return {
        sentence: Translation(text, tuple(letters(text)), (0.5,) * len(text)) for sentence, text in ids(texts).items()
    }


@pytest.mark.parametrize("name", HYPOTHESES)
def test_bleu_and_chrf_are_sacrebleus(name):
    references = ids(REFERENCES)
    scorer = TranslationScorer(references, letters)
    table = scorer.measure(translations(HYPOTHESES[name]), some_forced(references))
    described = scorer.describe(table)
    for metric, key in ((BLEU(), "bleu"), (CHRF(), "chrf")):
        theirs = metric.corpus_score(HYPOTHESES[name], [REFERENCES])
        assert described[key] == theirs.score  # to the last digit
        assert values(table)[key] == pytest.approx(theirs.score, rel=1e-12)
        assert scorer.signatures[key] == str(metric.get_signature())
    assert described["brevity_penalty"] == BLEU().corpus_score(HYPOTHESES[name], [REFERENCES]).bp


def test_every_draw_is_scored_as_sacrebleu_would():
    """All the corner cases of short draws: no match in some orders, nothing decoded, too short."""
    references = ids(REFERENCES)
    scorer = TranslationScorer(references, letters)
    generator = np.random.default_rng(1)
    metrics = {"bleu": BLEU(), "chrf": CHRF()}
    for texts in HYPOTHESES.values():
        table = scorer.measure(translations(texts), some_forced(references))
        weights = generator.multinomial(3, np.full(5, 0.2), size=40)
        for measure in MEASURES[:2]:
            rows = table.drawn(weights)[measure.key]
            theirs = [metrics[measure.key]._compute_score_from_stats([int(v) for v in row]).score for row in rows]
            assert measure.value(table.drawn(weights)) == pytest.approx(theirs, rel=1e-12)


@pytest.fixture(scope="module")
def decoding(tmp_path_factory):
    """A made-up decoding and the files of it."""
    root = tmp_path_factory.mktemp("decoding")
    references = make_references(root / "data", ["test"])["test"]
    make_decoding(root / "exp" / "none" / "seed0" / "decode_test", references, 2.0, sharpness=1.8)
    return root


def read(root):
    decoded = root / "exp" / "none" / "seed0" / "decode_test"
    return (
        read_text(root / "data" / "test" / "tgt"),
        read_translations(decoded / "hyp.jsonl"),
        read_forced(decoded / "forced.npz"),
    )


def test_calibration_against_torchmetrics_and_definitions(decoding):
    references, hypotheses, forced = read(decoding)
    scorer = TranslationScorer(references, encode)
    found = values(scorer.measure(hypotheses, forced))
    of_forced, of_decoded = scorer.calibrations(hypotheses, forced)
    assert found["nll"] == pytest.approx(forced.nll.mean(), rel=1e-9)
    assert found["brier"] == pytest.approx(forced.brier.mean(), rel=1e-9)
    confidence = np.concatenate([one.confidences for one in hypotheses.values()])
    correct = np.concatenate(
        [np.array(hypotheses[one].tokens) == np.array(encode(text)) for one, text in references.items()]
    )
    assert 0.7 < correct.mean() < 0.95
    # No word is dropped in the made-up decoding, and hardly one moves: place by place is nearly the alignment.
    assert of_decoded.summary().accuracy == pytest.approx(correct.mean(), abs=0.005)
    aligned = correct_tokens([one.tokens for one in hypotheses.values()], [encode(t) for t in references.values()])
    for key, sure, right in (
        ("ece", forced.confidence, forced.correct),
        ("inference_ece", confidence, aligned),
    ):
        theirs = BinaryCalibrationError(n_bins=15)(torch.tensor(sure).float(), torch.tensor(right).long())
        assert found[key] == pytest.approx(float(theirs), abs=2e-6)
    for state, key in ((of_forced, "ece"), (of_decoded, "inference_ece")):
        assert state.summary().ece == pytest.approx(found[key], rel=1e-9)
    assert of_forced.summary().nll == pytest.approx(found["nll"])
    assert of_forced.summary().brier == pytest.approx(found["brier"])


def test_order_of_files_is_of_no_matter(decoding):
    references, hypotheses, forced = read(decoding)
    expected = TranslationScorer(references, encode).measure(hypotheses, forced)
    order = list(references)
    random.Random(0).shuffle(order)
    shuffled = [{one: part[one] for one in order} for part in (references, hypotheses)]
    found = TranslationScorer(shuffled[0], encode).measure(shuffled[1], forced.of(order))
    assert found.ids == expected.ids
    for name, column in expected.columns.items():
        assert found.columns[name] == pytest.approx(column, rel=1e-9), name


def test_joined_test_sets_are_one(decoding):
    references, hypotheses, forced = read(decoding)
    table = TranslationScorer(references, encode).measure(hypotheses, forced)
    halves = {"a": table.part(slice(60)), "b": table.part(slice(60, None))}
    joined = values(Table.joined(halves))
    assert joined == {key: pytest.approx(value, rel=1e-12) for key, value in values(table).items()}


def test_score_file(decoding, capsys):
    written = score(Scores(), settings(decoding, ["test"]), "none", 0, "test")
    decoded = decoding / "exp" / "none" / "seed0" / "decode_test"
    assert json.loads((decoded / "score.json").read_text()) == written
    references, hypotheses, _ = read(decoding)
    texts = [hypotheses[one].text for one in references]
    exact = BLEU().corpus_score(texts, [list(references.values())]).score
    assert written["sacrebleu"]["bleu"] == exact
    assert written["scores"]["bleu"]["value"] == pytest.approx(exact, rel=1e-12)
    assert (written["schema"], written["task"], written["items"]) == (2, "translation", 150)
    assert set(written["scores"]) == {"bleu", "chrf", "nll", "ece", "inference_ece", "brier"}
    for one in written["scores"].values():
        assert one["ci95"][0] <= one["value"] <= one["ci95"][1]
    assert written["teacher_forced"]["count"] == written["inference"]["count"] + 150
    assert 0 < written["teacher_forced"]["ece_by_chance"] < written["teacher_forced"]["ece"]
    assert sum(one["count"] for one in written["inference"]["diagram"]) == written["inference"]["count"]
    assert written["options"]["reference"] == "tgt"
    assert written["options"]["signatures"]["chrf"].startswith("nrefs:1|")
    assert str(decoding) not in json.dumps(written)
    printed = capsys.readouterr().out
    assert printed.startswith(f"none seed 0, test: BLEU {exact:.2f} [") and printed.count("\n") == 1


def test_nothing_decoded(decoding, tmp_path):
    """A model that writes nothing has scores, but no inference ECE."""
    _, hypotheses, _ = read(decoding)
    decoded = tmp_path / "exp" / "none" / "seed0" / "decode_test"
    shutil.copytree(decoding / "exp" / "none" / "seed0" / "decode_test", decoded)
    shutil.copytree(decoding / "data", tmp_path / "data")
    lines = [{"id": one, "text": "", "tokens": [], "confidences": []} for one in hypotheses]
    (decoded / "hyp.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    written = score(Scores(), settings(tmp_path, ["test"]), "none", 0, "test")
    assert written["scores"]["bleu"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    assert written["scores"]["inference_ece"] == {"value": None, "ci95": None}
    assert written["inference"] is None


def test_settings_that_there_are_not():
    references = ids(REFERENCES)
    with pytest.raises(ConfigError, match="tokenize is 'words'; sacreBLEU knows none, zh, 13a"):
        TranslationScorer(references, letters, tokenize="words")
    scorer = TranslationScorer(references, letters, alignment="meteor")
    with pytest.raises(ConfigError, match="the alignment is 'meteor'; expected one of edit, ter"):
        scorer.measure(translations(REFERENCES), some_forced(references))
    with pytest.raises(DataError, match="There are no references"):
        TranslationScorer({}, letters)
