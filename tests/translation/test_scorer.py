"""Scores of translations against sacreBLEU, torchmetrics and their definitions."""

import json
import random

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF
from torchmetrics.classification import BinaryCalibrationError

from seqkd.errors import ConfigError, DataError
from seqkd.scoring.formats import read_text
from seqkd.translation.files import Translation, read_translations
from seqkd.translation.forced import Forced, read_forced
from seqkd.translation.inference import correct_tokens
from seqkd.translation.measures import MEASURES, Sums
from seqkd.translation.scorer import TranslationScorer, score_translations
from seqkd.translation.scores import score_decoding
from tests.translation.made_translations import encode, make_decoding, make_references

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


def translations(texts):
    return {
        sentence: Translation(text, tuple(letters(text)), (0.5,) * len(text)) for sentence, text in ids(texts).items()
    }


@pytest.mark.parametrize("name", HYPOTHESES)
def test_bleu_and_chrf_are_sacrebleus(name):
    references = ids(REFERENCES)
    score = score_translations(references, translations(HYPOTHESES[name]), some_forced(references), letters)
    for metric, key in ((BLEU(), "bleu"), (CHRF(), "chrf")):
        theirs = metric.corpus_score(HYPOTHESES[name], [REFERENCES])
        assert score.sacrebleu[key] == theirs.score  # to the last digit
        assert score.estimates[key].value == pytest.approx(theirs.score, rel=1e-12)
        assert score.signatures[key] == str(metric.get_signature())
    assert score.sacrebleu["brevity_penalty"] == BLEU().corpus_score(HYPOTHESES[name], [REFERENCES]).bp


def test_every_draw_is_scored_as_sacrebleu_would():
    """All the corner cases of short draws: no match in some orders, nothing decoded, too short."""
    references = ids(REFERENCES)
    scorer = TranslationScorer(references, letters)
    generator = np.random.default_rng(1)
    metrics = {"bleu": BLEU(), "chrf": CHRF()}
    for texts in HYPOTHESES.values():
        sums = scorer.measure(translations(texts), some_forced(references)).sums
        weights = generator.multinomial(3, np.full(5, 0.2), size=40)
        for measure in MEASURES[:2]:
            rows = getattr(sums.drawn(weights), measure.key)
            theirs = [metrics[measure.key]._compute_score_from_stats([int(v) for v in row]).score for row in rows]
            assert measure.value(sums.drawn(weights)) == pytest.approx(theirs, rel=1e-12)


@pytest.fixture(scope="module")
def decoding(tmp_path_factory):
    """A made-up decoding and the files of it."""
    root = tmp_path_factory.mktemp("decoding")
    references = make_references(root, ["test"])["test"]
    make_decoding(root / "decode_test", references, 2.0, sharpness=1.8)
    return root


def read(root):
    decoded = root / "decode_test"
    return (
        read_text(root / "test" / "tgt"),
        read_translations(decoded / "hyp.jsonl"),
        read_forced(decoded / "forced.npz"),
    )


def test_calibration_against_torchmetrics_and_definitions(decoding):
    references, hypotheses, forced = read(decoding)
    score = score_translations(references, hypotheses, forced, encode, replicates=0)
    values = {key: one.value for key, one in score.estimates.items()}
    assert values["nll"] == pytest.approx(forced.nll.mean(), rel=1e-9)
    assert values["brier"] == pytest.approx(forced.brier.mean(), rel=1e-9)
    confidence = np.concatenate([one.confidences for one in hypotheses.values()])
    correct = np.concatenate(
        [np.array(hypotheses[one].tokens) == np.array(encode(text)) for one, text in references.items()]
    )
    assert 0.7 < correct.mean() < 0.95
    # No word is dropped in the made-up decoding, and hardly one moves: place by place is nearly the alignment.
    assert score.decoded.summary().accuracy == pytest.approx(correct.mean(), abs=0.005)
    aligned = correct_tokens([one.tokens for one in hypotheses.values()], [encode(t) for t in references.values()])
    for key, sure, right in (
        ("ece", forced.confidence, forced.correct),
        ("inference_ece", confidence, aligned),
    ):
        theirs = BinaryCalibrationError(n_bins=15)(torch.tensor(sure).float(), torch.tensor(right).long())
        assert values[key] == pytest.approx(float(theirs), abs=2e-6)
    for state, key in ((score.forced, "ece"), (score.decoded, "inference_ece")):
        assert state.summary().ece == pytest.approx(values[key], rel=1e-9)
    assert score.forced.summary().nll == pytest.approx(values["nll"])
    assert score.forced.summary().brier == pytest.approx(values["brier"])


def test_order_of_files_is_of_no_matter(decoding):
    references, hypotheses, forced = read(decoding)
    expected = score_translations(references, hypotheses, forced, encode, replicates=50)
    order = list(references)
    random.Random(0).shuffle(order)
    shuffled = [{one: part[one] for one in order} for part in (references, hypotheses)]
    found = score_translations(*shuffled, forced.of(order), encode, replicates=50)
    for key, one in expected.estimates.items():
        assert found.estimates[key].value == pytest.approx(one.value, rel=1e-9)
        assert found.estimates[key].ci95 == pytest.approx(one.ci95, rel=1e-9)


def test_joined_test_sets_are_one(decoding):
    references, hypotheses, forced = read(decoding)
    sums = TranslationScorer(references, encode).measure(hypotheses, forced).sums
    halves = [Sums(*(part[rows] for part in vars(sums).values())) for rows in (slice(60), slice(60, None))]
    for measure in MEASURES:
        assert measure.value(Sums.joined(halves).total()) == pytest.approx(measure.value(sums.total()), rel=1e-12)


def test_score_file_and_table(decoding, tmp_path):
    printed = score_decoding(
        decoding / "test" / "tgt", decoding / "decode_test", encode, json=tmp_path / "score.json", replicates=200
    )
    written = json.loads((tmp_path / "score.json").read_text())
    assert not (decoding / "decode_test" / "score.json").exists()
    references, hypotheses, _ = read(decoding)
    texts = [hypotheses[one].text for one in references]
    exact = BLEU().corpus_score(texts, [list(references.values())]).score
    assert written["scores"]["bleu"]["value"] == written["sacrebleu"]["bleu"] == exact
    assert (written["schema"], written["task"], written["sentences"]) == (1, "translation", 150)
    assert set(written["scores"]) == {"bleu", "chrf", "nll", "ece", "inference_ece", "brier"}
    for one in written["scores"].values():
        assert one["ci95"][0] <= one["value"] <= one["ci95"][1]
    assert written["teacher_forced"]["count"] == written["inference"]["count"] + 150
    assert 0 < written["teacher_forced"]["ece_by_chance"] < written["teacher_forced"]["ece"]
    assert sum(one["count"] for one in written["inference"]["diagram"]) == written["inference"]["count"]
    assert written["options"]["reference"] == "tgt"
    assert str(decoding) not in json.dumps(written)
    assert printed.splitlines()[0].split()[:2] == ["BLEU", f"{exact:.2f}"]
    assert written["options"]["signatures"]["chrf"] in printed


def test_nothing_decoded(decoding, tmp_path):
    """A model that writes nothing has scores, but no inference ECE."""
    _, hypotheses, _ = read(decoding)
    lines = [{"id": one, "text": "", "tokens": [], "confidences": []} for one in hypotheses]
    (tmp_path / "hyp.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "forced.npz").write_bytes((decoding / "decode_test" / "forced.npz").read_bytes())
    printed = score_decoding(decoding / "test" / "tgt", tmp_path, encode, replicates=20)
    written = json.loads((tmp_path / "score.json").read_text())
    assert written["scores"]["bleu"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    assert written["scores"]["inference_ece"] == {"value": None, "ci95": None}
    assert written["inference"] is None
    assert "Inference ECE % –" in " ".join(printed.split())


def test_settings_that_there_are_not():
    references = ids(REFERENCES)
    with pytest.raises(ConfigError, match="tokenize is 'words'; sacreBLEU knows none, zh, 13a"):
        TranslationScorer(references, letters, tokenize="words")
    scorer = TranslationScorer(references, letters, alignment="meteor")
    with pytest.raises(ConfigError, match="the alignment is 'meteor'; expected one of edit, ter"):
        scorer.measure(translations(REFERENCES), some_forced(references))
    with pytest.raises(DataError, match="There are no references"):
        TranslationScorer({}, letters)
