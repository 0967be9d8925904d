"""Guided, best-path, N-best, delayed and intermediate-layer distillation, each against its definition."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import ConfigError
from seqkd.losses import (
    best_path_ctc_loss,
    collapse,
    cons_kd_loss,
    ctc_kd_loss,
    ctc_loss,
    delayed_kd_loss,
    guided_ctc_loss,
    inter_ctc_kd_loss,
    nbest_ctc_loss,
)
from tests.losses.loss_batches import make_batch

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**16)
KD = {"kd_weight": 0.5, "reduction": "none"}


@quick
@given(seeds, st.sampled_from(["posterior", "log"]), st.sampled_from([0, 3]))
def test_guided_sums_the_posterior_at_the_teachers_spikes(seed, variant, blank):
    batch = make_batch(seed)
    batch = batch.but(targets=batch.targets - int(blank == 3))
    options = {"variant": variant, "blank": blank}
    result = guided_ctc_loss(batch.student[0], batch.teacher, *batch.common, **options, **KD)
    posteriors = batch.student[0].softmax(-1).numpy()
    for i, length in enumerate(batch.input_lengths.tolist()):
        best = batch.teacher[i, :length].argmax(-1).tolist()
        chosen = np.array([posteriors[i, t, k] for t, k in enumerate(best) if k != blank])
        expected = -(chosen if variant == "posterior" else np.log(chosen)).sum()
        assert result.terms["kd"][i].item() == pytest.approx(expected)


def test_guided_leaves_a_blank_teacher_alone(batch):
    blank = torch.nn.functional.one_hot(torch.zeros(3, 7, dtype=torch.long), 4).double()
    assert (guided_ctc_loss(batch.student[0], blank, *batch.common, **KD).terms["kd"] == 0).all()


@quick
@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=3), st.integers(0, 3))
def test_collapse_merges_repeats_then_drops_blanks(paths, blank):
    lengths = torch.tensor([6, 4, 0][: len(paths)])
    labels, counts = collapse(torch.tensor(paths), torch.arange(6) < lengths[:, None], blank)
    for row, count, path, length in zip(labels, counts, paths, lengths, strict=True):
        merged = [label for label, _ in itertools.groupby(path[:length]) if label != blank]
        assert row[:count].tolist() == merged and (row[count:] == blank).all()


@quick
@given(seeds)
def test_best_path_is_ctc_on_the_teachers_transcript(seed):
    batch = make_batch(seed)
    result = best_path_ctc_loss(batch.student[0], batch.teacher, *batch.common, **KD)
    for i, length in enumerate(batch.input_lengths.tolist()):
        best = batch.teacher[i, :length].argmax(-1).tolist()
        path = [label for label, _ in itertools.groupby(best) if label != 0]
        alone = ctc_loss(batch.student[0, i : i + 1], path, [length], [len(path)], reduction="sum")
        assert result.terms["kd"][i].item() == pytest.approx(alone.item())


def test_nbest_weighs_hypotheses_by_renormalised_scores(batch):
    hypotheses = torch.tensor([[[1, 2], [3, -5]], [[2, 2], [1, 3]], [[1, -1], [9, 9]]])
    lengths = torch.tensor([[2, 1], [2, 2], [1, 88]])
    scores = torch.tensor([[0.6, 0.2], [0.5, 0.5], [0.3, 0.0]]).log()
    student = batch.student[0]
    result = nbest_ctc_loss(student, hypotheses, lengths, scores, *batch.common, **KD)
    weights = [[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]]
    for i in range(3):
        expected = 0.0
        for weight, labels, count in zip(weights[i], hypotheses[i], lengths[i], strict=True):
            if weight:
                arguments = (labels[:count].tolist(), batch.input_lengths[i : i + 1], [int(count)])
                expected += weight * ctc_loss(student[i : i + 1], *arguments, reduction="sum").item()
        assert result.terms["kd"][i].item() == pytest.approx(expected)


def test_nbest_of_one_is_best_path(batch):
    mask = torch.arange(7) < batch.input_lengths[:, None]
    paths, lengths = collapse(batch.teacher.argmax(-1), mask, 0)
    best = best_path_ctc_loss(batch.student[0], batch.teacher, *batch.common, **KD)
    scores = torch.full((3, 1), -17.0)
    one = nbest_ctc_loss(batch.student[0], paths[:, None], lengths[:, None], scores, *batch.common, **KD)
    torch.testing.assert_close(one.total, best.total)


def test_nbest_without_hypotheses_is_zero(batch):
    nothing = torch.full((3, 2), -torch.inf)
    result = nbest_ctc_loss(
        batch.student[0], torch.zeros(3, 2, 4).long(), torch.ones(3, 2).long(), nothing, *batch.common, **KD
    )
    assert (result.terms["kd"] == 0).all()


def test_nbest_temperature_flattens(batch):
    hypotheses, lengths = torch.tensor([[[1], [2]]] * 3), torch.ones(3, 2).long()
    arguments = (batch.student[0], hypotheses, lengths)
    scores = torch.tensor([[-1.0, -3.0]] * 3)
    tempered = nbest_ctc_loss(*arguments, scores, *batch.common, temperature=4.0, **KD)
    scaled = nbest_ctc_loss(*arguments, scores / 4, *batch.common, **KD)
    torch.testing.assert_close(tempered.total, scaled.total)


def test_nbest_faults(batch):
    student, scores = batch.student[0], torch.zeros(3, 1)
    with pytest.raises(ValueError, match="hypothesis 0, utterance 2: target 0 at position 1 is the blank"):
        labels = torch.tensor([[[1, 2]], [[1, 2]], [[1, 0]]])
        nbest_ctc_loss(student, labels, torch.full((3, 1), 2), scores, *batch.common, **KD)
    with pytest.raises(ValueError, match=r"must be \(B, N, U\), \(B, N\), \(B, N\) with B = 3"):
        nbest_ctc_loss(student, torch.ones(3, 2, 1).long(), torch.ones(3, 1), scores, *batch.common, **KD)
    with pytest.raises(ValueError, match="temperature is -1; expected more than 0"):
        nbest_ctc_loss(
            student,
            torch.ones(3, 1, 1).long(),
            torch.ones(3, 1).long(),
            scores,
            *batch.common,
            temperature=-1,
            **KD,
        )


@quick
@given(seeds, st.integers(0, 8), st.sampled_from(["min", "mean", "softmin"]), st.sampled_from(["kl", "squared"]))
def test_delayed_equals_a_computation_with_loops(seed, max_delay, match, distance):
    batch = make_batch(seed)
    options = {"max_delay": max_delay, "match": match, "distance": distance, "temperature": 2.0}
    result = delayed_kd_loss(batch.student[0], batch.teacher, *batch.common, **options, **KD)
    teacher, student = ((x / 2).softmax(-1).numpy() for x in (batch.teacher, batch.student[0]))
    for i, length in enumerate(batch.input_lengths.tolist()):
        totals = []
        for k in range(min(max_delay, length - 1) + 1):
            p, q = teacher[i, : length - k], student[i, k:length]
            cell = 4 * p * np.log(p / q) if distance == "kl" else (p - q) ** 2
            totals.append(cell.sum() * length / (length - k))
        expected = {
            "min": min(totals),
            "mean": np.mean(totals),
            "softmin": -np.log(np.mean(np.exp(-np.array(totals)))),
        }[match]
        assert result.terms["kd"][i].item() == pytest.approx(expected)


def test_delay_zero_is_ctc_kd(batch):
    plain = ctc_kd_loss(batch.student[0], batch.teacher, *batch.common, distance="kl", **KD)
    for match in ("min", "mean", "softmin"):
        delayed = delayed_kd_loss(batch.student[0], batch.teacher, *batch.common, max_delay=0, match=match, **KD)
        torch.testing.assert_close(delayed.total, plain.total)


def test_a_late_copy_of_the_teacher_is_free(batch):
    late = torch.roll(batch.teacher, 2, dims=1)
    matched = delayed_kd_loss(late, batch.teacher, *batch.common, max_delay=2, **KD).terms["kd"]
    torch.testing.assert_close(matched, torch.zeros(3).double(), atol=1e-12, rtol=0)
    strict = delayed_kd_loss(late, batch.teacher, *batch.common, max_delay=1, **KD).terms["kd"]
    assert (strict > 0.1).all()
    early = torch.roll(batch.teacher, -2, dims=1)
    assert (delayed_kd_loss(early, batch.teacher, *batch.common, max_delay=2, **KD).terms["kd"] > 0.1).all()


def test_delayed_faults(batch):
    with pytest.raises(ValueError, match="max_delay is -1; expected at least 0"):
        delayed_kd_loss(batch.student[0], batch.teacher, *batch.common, max_delay=-1, **KD)
    with pytest.raises(ValueError, match="match is 'max'; expected one of min, mean, softmin"):
        delayed_kd_loss(batch.student[0], batch.teacher, *batch.common, max_delay=1, match="max", **KD)


def test_inter_averages_the_inner_layers(make):
    batch = make(passes=4)
    last, inner = batch.student[0], batch.student[1:]
    weights = {"inter_kd_weight": 0.3, "inter_ctc_weight": 0.2}
    result = inter_ctc_kd_loss(last, inner, batch.teacher, *batch.common, **weights, **KD)
    outer = ctc_kd_loss(last, batch.teacher, *batch.common, **KD).terms
    middle = cons_kd_loss(inner, batch.teacher, *batch.common, consistency_weight=0.0, **KD).terms
    expected = {**outer, "inter_ctc": middle["ctc"], "inter_kd": middle["kd"]}
    assert result.terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(result.terms[name], value)


def test_inter_faults(batch):
    weights = {"inter_kd_weight": 0.3, "inter_ctc_weight": 0.2}
    with pytest.raises(ValueError, match=r"inter_logits must hold at least one tensor \(B, T, C\)"):
        inter_ctc_kd_loss(batch.student[0], [], batch.teacher, *batch.common, **weights, **KD)
    with pytest.raises(ValueError, match=r"inter_logits \(3, 6, 4\) and student_logits \(3, 7, 4\) must have"):
        wrong = [batch.student[1][:, :6]]
        inter_ctc_kd_loss(batch.student[0], wrong, batch.teacher, *batch.common, **weights, **KD)


@pytest.mark.parametrize("score", [torch.nan, torch.inf])
def test_nbest_refuses_scores_that_would_silence_an_utterance(batch, score):
    scores = torch.tensor([[-1.0, -2.0], [-1.0, score], [-torch.inf, -torch.inf]])
    hypotheses, lengths = torch.tensor([[[1], [2]]] * 3), torch.ones(3, 2).long()
    with pytest.raises(ValueError, match=rf"utterance 1, hypothesis 1: its score is {score}; expected a finite"):
        nbest_ctc_loss(batch.student[0], hypotheses, lengths, scores, *batch.common, **KD)


@pytest.mark.parametrize("max_delay", [2.5, "2", True])
def test_a_delay_is_a_whole_number(batch, max_delay):
    with pytest.raises(ConfigError, match=rf"max_delay is {max_delay!r}; expected a"):
        delayed_kd_loss(batch.student[0], batch.teacher, *batch.common, max_delay=max_delay, **KD)
