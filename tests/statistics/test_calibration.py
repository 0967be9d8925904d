"""Calibration against torchmetrics where it defines the quantity, and against the definition where it does not."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryCalibrationError, MulticlassCalibrationError

from seqkd.errors import DataError
from seqkd.scoring.tables import aligned_tokens
from seqkd.statistics.calibration import Calibration, FrameCalibration, bins_by_item
from seqkd.statistics.measures import ece

BELOW_1 = float(np.nextafter(np.float32(1), np.float32(0)))  # exactly 1 has a bin of its own in torchmetrics


def test_the_last_bin_is_closed():
    summary = Calibration().update([0.95, 1.0], [1, 0]).summary()
    assert (summary.ece, summary.mce) == (pytest.approx(0.475), pytest.approx(0.475))
    assert float(ece(bins_by_item([0.95, 1.0], [1, 0], [1, 1]).sum(axis=0))) == pytest.approx(0.475)
    assert Calibration().update([1.0], [0]).diagram() == [
        {"from": pytest.approx(14 / 15), "to": 1.0, "count": 1, "confidence": 1.0, "accuracy": 0.0}
    ]


def predictions(seed=0, count=4000, classes=7, sharpness=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(count, classes, generator=generator)
    logits[:50, 0] += 200  # probability exactly 1 in single precision
    probs = logits.softmax(-1)
    targets = torch.multinomial((0.7 * logits).softmax(-1), 1, generator=generator)[:, 0]
    return probs, targets


@pytest.mark.parametrize("bins", [1, 10, 15, 33])
def test_classes_against_torchmetrics(bins):
    probs, targets = predictions()
    ours = Calibration(bins)
    for part, right in zip(probs.split(999), targets.split(999), strict=True):
        ours.update_distribution(part, right)
    for norm, value in (("l1", ours.summary().ece), ("max", ours.summary().mce)):
        theirs = MulticlassCalibrationError(probs.shape[1], n_bins=bins, norm=norm)(probs.clamp(max=BELOW_1), targets)
        assert value == pytest.approx(float(theirs), abs=2e-6)


@pytest.mark.parametrize("bins", [10, 15])
def test_events_against_torchmetrics(bins):
    generator = np.random.default_rng(1)
    confidence = np.concatenate([generator.random(5000), np.arange(bins + 1) / bins]).astype(np.float32)
    correct = generator.random(len(confidence)) < confidence**2
    summary = Calibration(bins).update(confidence, correct).summary()
    below = np.minimum(confidence, BELOW_1)
    for norm, value in (("l1", summary.ece), ("max", summary.mce)):
        theirs = BinaryCalibrationError(n_bins=bins, norm=norm)(torch.tensor(below), torch.tensor(correct).long())
        assert value == pytest.approx(float(theirs), abs=2e-6)


def test_scores_against_their_definitions():
    probs, targets = predictions(seed=2)
    summary = Calibration().update_distribution(probs, targets).summary()
    one_hot = torch.nn.functional.one_hot(targets, probs.shape[1])
    assert summary.brier == pytest.approx(float(((probs - one_hot) ** 2).sum(-1).mean()), rel=1e-5)
    nll = -probs[50:].double().gather(1, targets[50:, None]).log().mean()
    rest = Calibration().update_distribution(probs[50:], targets[50:]).summary()
    assert rest.nll == pytest.approx(float(nll), rel=1e-6)
    assert summary.accuracy == pytest.approx(float((probs.argmax(-1) == targets).double().mean()))
    assert summary.count == len(probs)


def test_adaptive_error_against_sorting():
    generator = np.random.default_rng(3)
    confidence = 1 - generator.random(20_000) ** 3 / 50  # most near 1: equal bins would see one of them
    correct = generator.random(len(confidence)) < confidence - 0.02 * (confidence > 0.99)
    order = np.argsort(confidence)
    gaps = [abs((confidence[part] - correct[part]).sum()) for part in np.array_split(order, 15)]
    summary = Calibration(15).update(confidence, correct).summary()
    assert summary.adaptive_ece == pytest.approx(sum(gaps) / len(confidence), abs=5e-4)


def test_normalised_cross_entropy():
    correct = np.array([1, 1, 1, 0])
    assert Calibration().update(np.full(4, 0.75), correct).summary().nce == pytest.approx(0.0)
    assert Calibration().update([1, 1, 1, 0], correct).summary().nce == pytest.approx(1.0, abs=1e-9)
    assert Calibration().update([0.5, 0.5, 0.5, 0.9], correct).summary().nce < 0
    # NIST's definition: (H_max + sum of log2 p of the right, log2 (1 - p) of the wrong words) / H_max.
    p = np.array([0.9, 0.6, 0.8, 0.3])
    most = -(3 * np.log2(0.75) + np.log2(0.25))
    expected = (most + np.log2(p[:3]).sum() + np.log2(1 - p[3])) / most
    assert Calibration().update(p, correct).summary().nce == pytest.approx(expected)
    assert Calibration().update([0.9, 0.8], [1, 1]).summary().nce is None


def test_parts_add_up_as_over_processes():
    probs, targets = predictions(seed=4)
    whole = Calibration().update_distribution(probs, targets)
    parts = [
        Calibration().update_distribution(part, right)
        for part, right in zip(probs.split(1500), targets.split(1500), strict=True)
    ]
    summed = torch.stack([torch.from_numpy(part.to_vector()) for part in parts]).sum(0)  # what all_reduce does
    merged = parts[0].merge(parts[1]).merge(parts[2])
    for other in (Calibration.from_vector(summed), merged):
        for name, value in whole.summary().to_json().items():
            assert getattr(other.summary(), name) == pytest.approx(value, rel=1e-9), name
        assert [row["count"] for row in other.diagram()] == [row["count"] for row in whole.diagram()]


def test_memory_does_not_grow():
    calibration = Calibration(10)
    size = calibration.to_vector().size
    for _ in range(3):
        calibration.update(np.random.default_rng(0).random(10_000), np.ones(10_000))
    assert calibration.to_vector().size == size
    assert sum(row["count"] for row in calibration.diagram()) == calibration.count == 30_000


def test_diagram():
    rows = Calibration(2).update([0.2, 0.3, 0.5, 1.0], [0, 1, 1, 1]).diagram()
    assert [(row["from"], row["to"], row["count"]) for row in rows] == [(0, 0.5, 2), (0.5, 1, 2)]
    assert (rows[0]["confidence"], rows[0]["accuracy"]) == (0.25, 0.5)


def test_frames_with_and_without_blank():
    probs, labels = predictions(seed=5, count=60, classes=4)
    probs, labels = probs.reshape(3, 20, 4), labels.reshape(3, 20)
    lengths = [20, 7, 13]
    frames = FrameCalibration(blank=0).update(probs, labels, lengths)
    flat = torch.cat([probs[i, :n] for i, n in enumerate(lengths)])
    right = torch.cat([labels[i, :n] for i, n in enumerate(lengths)])
    theirs = MulticlassCalibrationError(4, n_bins=15)
    assert frames.all.summary().ece == pytest.approx(float(theirs(flat, right)), abs=2e-6)
    spoken = flat.argmax(-1) != 0
    assert 0 < spoken.sum() < 40
    assert frames.nonblank.summary().ece == pytest.approx(float(theirs(flat[spoken], right[spoken])), abs=2e-6)
    alone = FrameCalibration()
    for i, n in enumerate(lengths):
        alone.merge(FrameCalibration().update(probs[i, :n], labels[i, :n]))
    assert alone.all.count == 40
    assert alone.nonblank.summary().ece == pytest.approx(frames.nonblank.summary().ece)


def test_decoded_tokens_are_judged_by_alignment():
    calibration = aligned_tokens([[1, 2, 3], [], [5]], [[0.9, 0.8, 0.4], [], [0.6]], [[1, 3], [4], [6]])
    # 1 and 3 match, 2 is inserted, 5 stands for 6.
    assert calibration.count == 4
    assert calibration.summary().accuracy == 0.5
    assert calibration.summary().confidence == pytest.approx(0.675)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Calibration().summary(), "There are no predictions to measure the calibration of."),
        (lambda: Calibration(0), "There are 0 bins; expected at least 1."),
        (lambda: Calibration().update([1.5], [1]), "A confidence is not a probability from 0 to 1."),
        (lambda: Calibration().update([np.nan], [1]), "A confidence is not a probability from 0 to 1."),
        (lambda: Calibration().update_distribution([[0.5, 0.5]], [2]), "A target is outside of the classes 0 to 1."),
        (lambda: Calibration().update_distribution([[0.5, 0.5]], [0, 1]), "There are 1 distributions and 2 targets"),
        (lambda: Calibration(5).merge(Calibration(6)), "States of 5 and 6 bins do not add up."),
        (lambda: aligned_tokens([[1]], [[]], [[1]]), "Hypothesis 0 has 1 tokens and 0 confidences."),
    ],
)
def test_faults(call, sentence):
    with pytest.raises(DataError) as fault:
        call()
    assert str(fault.value).startswith(sentence)
