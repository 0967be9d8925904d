"""Which decoded tokens are correct, and what chance adds to an ECE."""

import numpy as np
import pytest
from sacrebleu.metrics import lib_ter

from seqkd.scoring.tables import aligned_tokens
from seqkd.statistics.calibration import Calibration, bins_by_item, diagram_of
from seqkd.statistics.measures import ece
from seqkd.translation.forced import Forced
from seqkd.translation.inference import correct_tokens


def marks(hypothesis, reference, alignment):
    return "".join("C" if ok else "." for ok in correct_tokens([letters(hypothesis)], [letters(reference)], alignment))


def letters(text):
    return [ord(letter) for letter in text]


@pytest.mark.parametrize(
    ("hypothesis", "reference", "edit", "ter"),
    [
        ("abcd", "abcd", "CCCC", "CCCC"),
        ("axcd", "abcd", "C.CC", "C.CC"),
        ("axbcd", "abcd", "C.CCC", "C.CCC"),
        ("acd", "abcd", "CCC", "C.C"),  # the released code marks what follows a missing token
        ("defabc", "abcdef", "CCC...", "CCCCCC"),  # a phrase in another place
        ("dxfabc", "abcdef", "...CCC", "C.CCCC"),  # marked where it was decoded, not where it was moved to
        ("", "abc", "", ""),
        ("abc", "", "...", "..."),
        ("xyz", "abc", "...", "..."),
    ],
)
def test_alignments(hypothesis, reference, edit, ter):
    assert marks(hypothesis, reference, "edit") == edit
    assert marks(hypothesis, reference, "ter") == ter


def test_ter_finds_sacrebleus_edits(monkeypatch):
    """Its loop here ends where sacreBLEU's ends: as many tokens are wrong as its last trace says."""
    generator = np.random.default_rng(0)
    traces = []
    call = lib_ter.BeamEditDistance.__call__

    def recorded(self, words):
        result = call(self, words)
        traces.append(result)
        return result

    monkeypatch.setattr(lib_ter.BeamEditDistance, "__call__", recorded)
    moved = 0
    for _ in range(150):
        reference = generator.integers(0, 12, size=generator.integers(2, 25)).tolist()
        at, length = generator.integers(0, len(reference), size=2)
        phrase = reference[at : at + length]
        hypothesis = reference[:at] + reference[at + length :] + phrase
        hypothesis = [word if generator.random() < 0.85 else 99 for word in hypothesis if generator.random() < 0.95]
        traces.clear()
        correct = correct_tokens([hypothesis], [reference], "ter")
        ours = traces[-1] if hypothesis else None
        traces.clear()
        edits, _ = lib_ter.translation_edit_rate([str(w) for w in hypothesis], [str(w) for w in reference])
        if ours is None:
            continue
        theirs = traces[-1]
        assert ours == theirs
        moved += edits > theirs[0]
        matches = theirs[1].count(" ")
        gaps = sum(trace.startswith(" ") for trace in theirs[1].split("i")[1:])
        assert correct.sum() == matches - gaps
    assert moved > 20  # shifts were made


def test_tokens_are_those_of_the_other_function():
    """`aligned_tokens` sums the same outcomes over all sentences."""
    generator = np.random.default_rng(1)
    ours, theirs, sure = [], [], []
    for _ in range(40):
        theirs.append(generator.integers(0, 9, size=generator.integers(1, 12)).tolist())
        ours.append([word for word in theirs[-1] if generator.random() < 0.8])
        sure.append(generator.random(len(ours[-1])).tolist())
    expected = aligned_tokens(ours, sure, theirs).summary()
    found = Calibration().update(np.concatenate(sure), correct_tokens(ours, theirs)).summary()
    assert found == expected


@pytest.mark.parametrize("bins", [1, 15])
def test_bins_add_up_to_the_error(bins):
    generator = np.random.default_rng(2)
    lengths = np.array([3, 0, 7, 40, 1])
    confidence = generator.random(51).astype(np.float32)
    confidence[:2] = 1
    correct = generator.random(51) < 0.5
    table = bins_by_item(confidence, correct, lengths, bins)
    assert table.shape == (5, 3, bins + 1)
    assert not table[1].any()
    count, sure, right = table.sum(axis=2)[2]
    assert (count, right) == (7, correct[3:10].sum())
    assert sure == pytest.approx(confidence[3:10].sum())
    expected = Calibration(bins).update(confidence, correct)
    assert ece(table.sum(axis=0)) == pytest.approx(expected.summary().ece, rel=1e-9)
    assert diagram_of(table.sum(axis=0)) == [
        {**one, "confidence": pytest.approx(one["confidence"])} for one in expected.diagram()
    ]


def test_error_by_chance():
    """What perfectly calibrated predictions show on average is what it says."""
    generator = np.random.default_rng(3)
    for count in (300, 5000):
        found, said = [], []
        for _ in range(150):
            confidence = generator.beta(4, 1, size=count)
            measured = Calibration().update(confidence, generator.random(count) < confidence)
            found.append(measured.summary().ece)
            said.append(measured.ece_by_chance())
        assert np.mean(said) == pytest.approx(np.mean(found), rel=0.06)
    assert Calibration().ece_by_chance() == 0.0
    assert Calibration().update([1.0, 1.0], [True, False]).ece_by_chance() == 0.0


def test_given_likelihoods_are_kept():
    summary = Calibration().update([0.9, 0.8], [True, False], [0.1, 2.0], [0.05, 0.9]).summary()
    assert (summary.nll, summary.brier) == (pytest.approx(1.05), pytest.approx(0.475))


def test_other_order_of_sentences():
    forced = Forced(
        ("a", "b"), np.array([1, 2]), np.array([0.1, 0.2, 0.3]), np.array([True, False, True]), np.ones(3), np.ones(3)
    )
    turned = forced.of(["b", "a"])
    assert (turned.ids, turned.lengths.tolist()) == (("b", "a"), [2, 1])
    assert turned.confidence.tolist() == [0.2, 0.3, 0.1]
    assert turned.correct.tolist() == [False, True, True]
