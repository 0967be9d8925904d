"""The fused teacher: the checks of the published system, and each part against counting by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import DataError
from seqkd.shots.fusion import CoOccurrence, FusedTeacher, load_teacher, log_ratio, save_teacher, soften
from seqkd.shots.language import FilmLanguage
from seqkd.shots.model import Architecture, ShotModel, ShotNetwork
from seqkd.shots.rates import RATES, averaged, repeated
from tests.shots.songs import CLASSES, FEATURES, chain, make_songs

NAMES = tuple(f"f{i}" for i in range(FEATURES))


def assistant(seconds: int, seed: int = 0) -> ShotModel:
    torch.manual_seed(seed + seconds)
    return ShotModel(ShotNetwork(Architecture((6, 4)), FEATURES).eval(), NAMES, chain(), seconds)


def teacher(**options) -> FusedTeacher:
    songs, shots = make_songs(6, 60)
    codes = CoOccurrence.learn(list(songs.values()), list(shots.values()), classes=CLASSES, codes=5)
    return FusedTeacher(tuple(assistant(n) for n in RATES), codes, chain(), **options)


# The checks of the published system.


def test_published_averages():
    frames = [[0.6, 0.4], [0.2, 0.8], [0.5, 0.5], [0.1, 0.9]]
    np.testing.assert_allclose(averaged(frames, 2), [[0.4, 0.6], [0.3, 0.7]])
    np.testing.assert_allclose(averaged(frames, 4), [[0.35, 0.65]])
    assert averaged(frames, 1) == pytest.approx(np.array(frames))


def test_at_temperature_one_the_soft_target_is_the_fused_probability():
    o = np.random.default_rng(0).dirichlet(np.ones(8), 5)
    np.testing.assert_allclose(soften(o, 1.0), o, atol=1e-15)
    np.testing.assert_allclose(soften(o, 20.0), torch.tensor(o).log().div(20).softmax(-1).numpy(), atol=1e-12)
    assert soften(np.array([1.0, 0.0]), 20.0).tolist() == [1.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(0, 4), min_size=3, max_size=3),
    columns=st.lists(st.integers(0, 4), min_size=3, max_size=3),
)
def test_codes_that_are_independent_given_the_shot_have_the_factor_one(rows, columns):
    # n(u, v, s) = a_u b_v: u ⟂ v given s.
    pairs = [(i, j) for i, j in itertools.product(range(3), repeat=2) for _ in range(rows[i] * columns[j])]
    u, v = (np.array([pair[k] for pair in pairs], int) for k in (0, 1))
    table = log_ratio(u, v, np.zeros(len(pairs), int), size=3, classes=2, strength=7.0)
    assert np.abs(table).max() < 1e-12


# The parts.


def test_the_ratio_is_counted():
    rng = np.random.default_rng(1)
    u, v, s = rng.integers(0, 3, 200), rng.integers(0, 3, 200), rng.integers(0, 2, 200)
    table = log_ratio(u, v, s, size=3, classes=2, strength=5.0)
    for shot, a, b in itertools.product(range(2), range(3), range(3)):
        of_shot = [(x, y) for x, y, z in zip(u, v, s, strict=True) if z == shot]
        alone = sum(x == a for x, _ in of_shot) / len(of_shot)
        together = sum((x, y) == (a, b) for x, y in of_shot)
        smoothed = (together + 5 * alone) / (sum(y == b for _, y in of_shot) + 5)
        assert table[shot, a, b] == pytest.approx(math.log(smoothed / alone))


def test_what_was_never_seen_says_nothing():
    table = log_ratio(np.array([0, 0]), np.array([1, 1]), np.array([0, 0]), size=3, classes=2, strength=1.0)
    assert (table[1] == 0).all()  # a shot that never occurs
    assert (table[0, 1:] == 0).all()  # a code that never occurs
    assert (table[0, 0, [0, 2]] == 0).all() and np.isfinite(table).all()


def test_codes_that_go_together_are_favoured():
    u = np.tile([0, 1], 500)
    table = log_ratio(u, u, np.zeros(1000, int), size=2, classes=1, strength=1e-9)
    assert table[0, 0, 0] == pytest.approx(math.log(2)) and table[0, 0, 1] < -10


def test_rates_line_up():
    # The paper's frame ⌈t/n⌉ of second t from 1 is frame ⌊t/n⌋ of second t from 0.
    for frames, n in itertools.product((1, 2, 5, 8, 11), RATES):
        slow = repeated(averaged(np.arange(frames, dtype=float), n), n, frames)
        assert len(slow) == frames
        for t in range(frames):
            covered = range((math.ceil((t + 1) / n) - 1) * n, min(math.ceil((t + 1) / n) * n, frames))
            assert slow[t] == pytest.approx(np.mean(covered))


def test_log_factor_looks_up_the_codes_of_the_three_rates():
    made = teacher().co_occurrence
    song = next(iter(make_songs(1, 41, seed=5)[0].values()))
    factor = made.log_factor(song)
    normal = (song.astype(float) - made.mean) / made.deviation
    nearest = lambda x, book: int(((book - x) ** 2).sum(-1).argmin())  # noqa: E731
    for t in (0, 1, 6, 40):
        u, v, w = (
            nearest(normal[t - t % n : t - t % n + n].mean(0), book)
            for n, book in zip(RATES, made.codebooks, strict=True)
        )
        np.testing.assert_allclose(factor[t], made.high_middle[:, u, v] + made.middle_low[:, v, w])


def test_the_fused_likelihood_is_the_printed_product():
    made = teacher()
    song = next(iter(make_songs(1, 13, seed=7)[0].values()))
    expected = made.co_occurrence.log_factor(song)
    for model in made.assistants:
        expected = expected + np.log(model.posteriors(song)) - np.log(made.language.prior)
    np.testing.assert_allclose(made.log_likelihood(song), expected, atol=1e-9)
    halved = FusedTeacher(made.assistants, made.co_occurrence, made.language, scale=0.5)
    np.testing.assert_allclose(halved.log_likelihood(song), expected / 2, atol=1e-9)
    whole = FusedTeacher(made.assistants, made.co_occurrence, made.language, prior_power=0.0)
    np.testing.assert_allclose(whole.log_likelihood(song), expected + 3 * np.log(made.language.prior), atol=1e-9)


def test_the_decoder_is_the_best_sequence_and_the_soft_target_its_posterior():
    made, classes = teacher(), 8
    song = next(iter(make_songs(1, 3, seed=8)[0].values()))[:3]
    scores = made.log_likelihood(song)
    sequences = np.array(list(itertools.product(range(classes), repeat=3)))
    joint = np.array([made.language.log_prob(s) + scores[range(3), s].sum() for s in sequences])
    weights = np.exp(joint - joint.max())
    assert (made.decode(song) == sequences[joint.argmax()]).all()
    expected = [[weights[sequences[:, t] == c].sum() for c in range(classes)] for t in range(3)]
    np.testing.assert_allclose(made.posteriors(song), np.array(expected) / weights.sum(), atol=1e-12)
    assert np.abs(made.posteriors(song).sum(-1) - 1).max() < 1e-12


def test_fusing_helps_where_the_assistants_err_independently():
    """Three noisy classifiers and a film language in which shots go on: together they are better than each."""

    class Noisy:
        def __init__(self, seconds: int, shots: np.ndarray) -> None:
            rng = np.random.default_rng(seconds)
            scores = 1.6 * np.eye(CLASSES)[shots] + rng.normal(size=(len(shots), CLASSES))
            self.values = repeated(
                averaged(np.exp(scores) / np.exp(scores).sum(-1, keepdims=True), seconds), seconds, len(shots)
            )

        def posteriors(self, song):
            return self.values

    songs, shots = make_songs(1, 600)
    song, truth = songs["song000"], shots["song000"]
    models = tuple(Noisy(n, truth) for n in RATES)
    fused = FusedTeacher(models, teacher().co_occurrence, chain(stay=0.75))
    alone = max((model.values.argmax(-1) == truth).mean() for model in models)
    assert (fused.posteriors(song).argmax(-1) == truth).mean() > alone + 0.1


def test_learning_is_deterministic_and_a_seed_decides():
    songs, shots = (list(x.values()) for x in make_songs(4, 50))
    one, same, other = (CoOccurrence.learn(songs, shots, classes=8, codes=4, seed=seed) for seed in (1, 1, 2))
    assert (one.codebooks == same.codebooks).all() and (one.high_middle == same.high_middle).all()
    assert (one.codebooks != other.codebooks).any()
    with pytest.raises(DataError, match="fewer than the 400 codes of the teacher"):
        CoOccurrence.learn(songs, shots, classes=8, codes=400)


# On disk.


def test_on_disk(tmp_path):
    made = teacher(scale=0.7, prior_power=0.4)
    save_teacher(tmp_path / "teacher", made)
    again = load_teacher(tmp_path / "teacher")
    song = next(iter(make_songs(1, 30, seed=9)[0].values()))
    assert (again.posteriors(song) == made.posteriors(song)).all() and (again.scale, again.prior_power) == (0.7, 0.4)
    assert again.parameter_count() == made.parameter_count()


def test_a_damaged_teacher_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"no finished teacher here; run .*--stage teachers"):
        load_teacher(tmp_path)
    save_teacher(tmp_path, teacher())
    whole = (tmp_path / "fusion.safetensors").read_bytes()
    (tmp_path / "fusion.safetensors").write_bytes(whole[:-50])
    with pytest.raises(DataError, match=r"is a damaged teacher \(.*\); delete it and run ./run.sh --stage teachers"):
        load_teacher(tmp_path)


def test_the_film_language_rules_out_what_cannot_follow():
    stuck = FilmLanguage(np.full(8, 1 / 8), np.eye(8), np.full(8, 1 / 8))
    made = teacher()
    song = next(iter(make_songs(1, 20, seed=3)[0].values()))
    assert len(set(FusedTeacher(made.assistants, made.co_occurrence, stuck).decode(song))) == 1
