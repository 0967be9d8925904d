"""Reading a book: entries, batches, temperatures, several teachers, seeds, uncertainty."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from seqkd.data.features import FeatureSettings
from seqkd.errors import ConfigError
from seqkd.knowledge import Book, BookWriter, Dense, Manifest, TeacherId, TopK, Uncertainty, dev_loss_weights, mix
from seqkd.knowledge.manifest import read_manifest
from seqkd.losses.book_kd import book_kd_loss
from seqkd.losses.sparse import SparsePosteriors, densify
from tests.knowledge.books import CLASSES, FORMS, manifest, posteriors, write


def test_pages_come_back_by_id(tmp_path):
    entries = posteriors(20)
    book = write(tmp_path / "book", entries)
    assert len(book.segments) > 3 and book.utterances == tuple(sorted(entries)) and len(book) == 20
    assert "utt003" in book and ("utt003", 0) in book and ("utt003", 1) not in book and "utt999" not in book
    for utterance in reversed(book.utterances):
        entry = book.read(utterance)
        assert len(entry) == len(entries[utterance]) and entry.utterance == utterance and entry.uncertainty is None
        torch.testing.assert_close(entry.probs(), entries[utterance].exp(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_is_its_pages_padded(tmp_path, form):
    book = write(tmp_path / "book", posteriors(), form=FORMS[form])
    ids = ["utt007", "utt002", "utt005"]
    log_probs, lengths = book.collate(ids)
    kept, same = book.collate_sparse(ids)
    assert log_probs.shape == (3, max(lengths), CLASSES) and log_probs.dtype == torch.float32 and same.equal(lengths)
    for row, utterance in enumerate(ids):
        entry = book.read(utterance)
        n = len(entry)
        assert lengths[row] == n and log_probs[row, :n].equal(entry.log_probs())
        torch.testing.assert_close(log_probs[row, n:].exp(), torch.full((max(lengths) - n, CLASSES), 1 / CLASSES))
        alone = entry.sparse()
        k = alone.classes.shape[1]
        assert kept.classes[row, :n, :k].equal(alone.classes) and (kept.classes[row, :n, k:] == -1).all()
        assert (kept.classes[row, n:] == -1).all() and kept.tail[row, :n].equal(alone.tail)


@pytest.mark.parametrize("tail", ["spread", "renormalise"])
def test_log_probabilities_of_what_was_kept_are_logarithms_of_its_probabilities(tail):
    classes = torch.tensor([[[4, 0, -1], [-1, 2, -1], [-1, -1, -1], [1, 2, 3]]])  # -1 stands anywhere
    probs = torch.tensor([[[0.5, 0.2, 0.9], [0.3, 0.6, 0.3], [0.0, 0.0, 0.0], [0.2, 0.0, 0.1]]])
    kept = SparsePosteriors(classes, probs, torch.tensor([[0.3, 0.4, 1.0, 0.7]]))
    dense = densify(kept, 5, tail)
    assert densify(kept, 5, tail, log=True).nan_to_num(7.0).equal(dense.log().nan_to_num(7.0))
    if tail == "spread":
        torch.testing.assert_close(dense[0, 0], torch.tensor([0.2, 0.1, 0.1, 0.1, 0.5]))
        torch.testing.assert_close(dense[0, 2], torch.full((5,), 0.2))


def test_a_book_travels_to_worker_processes(tmp_path):
    book = write(tmp_path / "book", posteriors())
    first = book.read("utt001").log_probs()
    copy = pickle.loads(pickle.dumps(book))
    assert copy.read("utt001").log_probs().equal(first)


def test_target_positions_and_seconds_have_no_blank(tmp_path):
    # Seq2seq token posteriors (S, C), and shots (T, 8) once a second.
    for settings in ({"frame_shift_ms": None}, {"frame_shift_ms": 1000.0, "classes": 8}):
        entries = posteriors(3, classes=settings.get("classes", CLASSES))
        book = write(tmp_path / str(len(settings)), entries, blank=None, features=None, **settings)
        book.require(blank=None, features=None, frame_shift_ms=settings["frame_shift_ms"])
        batch, _ = book.collate(list(entries))
        targets = torch.zeros(batch.shape[:2], dtype=torch.int64)
        found = book_kd_loss(torch.zeros_like(batch), targets, batch, kd_weight=1.0)
        assert found.total.isfinite()


def test_a_dense_book_is_read_at_any_temperature(tmp_path):
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(7, CLASSES, generator=generator)
    for made in (1.0, 2.0):
        book = write(tmp_path / str(made), {"a": (logits / made).log_softmax(-1)}, temperature=made)
        assert book.read("a").log_probs().equal(book.read("a").log_probs(made))
        for wanted in (1.0, 2.0, 4.0):
            expected = (logits / wanted).softmax(-1)
            torch.testing.assert_close(
                book.require(temperature=wanted).read("a").probs(wanted), expected, atol=3e-3, rtol=0
            )
            torch.testing.assert_close(book.collate(["a"], temperature=wanted)[0][0].exp(), expected, atol=3e-3, rtol=0)


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.truncated])
def test_a_truncated_book_made_at_one_refuses_four(tmp_path, form):
    book = write(tmp_path / "book", posteriors(2), form=FORMS[form])
    sentence = (
        rf"book was made at temperature 1 and the student wants 4; its form \({form}\) does not keep the small "
        "probabilities that another temperature brings out: make it at temperature 4, or dense"
    )
    for use in (
        lambda: book.require(temperature=4.0),
        lambda: book.read("utt000").log_probs(4.0),
        lambda: book.collate(["utt000"], temperature=4.0),
    ):
        with pytest.raises(ConfigError, match=sentence):
            use()
    book.require(temperature=1.0).read("utt000").probs(1.0)


def test_the_mean_of_teachers_is_not_that_of_another_temperature(tmp_path):
    two = (TeacherId("a", "aa", 0.5), TeacherId("b", "bb", 0.5))
    book = write(tmp_path / "book", posteriors(2), teachers=two)
    with pytest.raises(ConfigError, match="the average of 2 teachers at one temperature is not that at another"):
        book.require(temperature=4.0)
    # But p^(1/τ) normalised may be asked for, as uncertainty-based distillation does.
    expected = (posteriors(2)["utt000"] / 4).softmax(-1)
    torch.testing.assert_close(book.read("utt000").probs(4.0), expected, atol=2e-3, rtol=0)


# Several teachers.


def test_weights_from_dev_losses():
    weights = dev_loss_weights([0.2, 1.2])
    assert weights[0] / weights[1] == pytest.approx(math.e) and sum(weights) == pytest.approx(1)
    with pytest.raises(ConfigError, match="the dev loss of teacher 1 is nan; expected a finite number"):
        dev_loss_weights([0.2, math.nan])


def test_teachers_are_averaged_into_one_posterior(tmp_path):
    a, b = posteriors(1, seed=1)["utt000"], posteriors(1, seed=2)["utt000"]
    n = min(len(a), len(b))
    a, b = a[:n], b[:n]
    mixed = mix([a, b], [0.25, 0.75])
    torch.testing.assert_close(mixed.exp(), (0.25 * a.double().exp() + 0.75 * b.double().exp()))
    torch.testing.assert_close(mix([a, a, a]), a.double())  # K identical teachers are one
    torch.testing.assert_close(mix([a, b], [1.0, 0.0]), a.double())
    teachers = (TeacherId("small", "s1", 0.25), TeacherId("large", "l1", 0.75))
    book = write(tmp_path / "book", {"utt000": mixed}, teachers=teachers)
    assert book.manifest.teachers == teachers
    book.require(teachers=["l1", "s1"])
    with pytest.raises(
        ConfigError, match=r"has teachers small \(s1\) with weight 0.25 and large \(l1\) .* the student l1;"
    ):
        book.require(teachers=["l1"])
    with pytest.raises(ConfigError, match="cannot be averaged; bring teachers to one clock first"):
        mix([a, b[:-1]])
    for weights in ([0.5, 0.6], [1.5, -0.5], [math.nan, 1.0]):
        with pytest.raises(ConfigError, match="expected numbers from 0 on that add up to 1"):
            mix([a, b], weights)


def test_a_regularised_book_holds_some_of_the_target(tmp_path):
    entry = posteriors(1)["utt000"]
    targets = torch.arange(len(entry)) % CLASSES
    for form in (Dense(), TopK(CLASSES)):
        with BookWriter(tmp_path / form.name, manifest(regularisation=0.2, form=form)) as writer:
            writer.add("utt000", entry, targets=targets)
        expected = 0.8 * entry.exp() + 0.2 * torch.nn.functional.one_hot(targets, CLASSES)
        found = Book.open(tmp_path / form.name).read("utt000").probs()
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


# Uncertainty.


def test_published_uncertainty():
    passes = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]], dtype=torch.float64).log()
    found = Uncertainty.of(passes)
    values = [value.item() for value in (found.total, found.aleatoric, found.epistemic)]
    assert values == pytest.approx([0.6931, 0.3251, 0.3681], abs=5e-5)
    assert Uncertainty.of(passes[:1]).epistemic.item() == pytest.approx(0, abs=1e-12)


def test_uncertainty_stands_beside_the_posteriors(tmp_path):
    passes = torch.stack([posteriors(1, scale=s)["utt000"] for s in (1.0, 3.0, 5.0)])
    wanted = Uncertainty.of(passes)
    for form in FORMS.values():
        with BookWriter(tmp_path / form.name, manifest(uncertainty=True, form=form)) as writer:
            writer.add("utt000", mix(passes), uncertainty=wanted)
        book = Book.open(tmp_path / form.name).require(uncertainty=True)
        found = book.read("utt000").uncertainty
        torch.testing.assert_close(found.aleatoric.double(), wanted.aleatoric, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(found.epistemic.double(), wanted.epistemic, atol=1e-3, rtol=1e-3)
        assert len(book.read("utt000")) == passes.shape[1]


# Seeds.


def test_a_book_holds_several_seeds_an_utterance(tmp_path):
    entries = posteriors(4)
    with BookWriter(tmp_path / "book", manifest(seeds=3), segment_bytes=200) as writer:
        assert len(writer.todo(entries)) == 12
        for utterance, seed in writer.todo(entries):
            writer.add(utterance, entries[utterance].roll(seed, -1), seed=seed)
    book = Book.open(tmp_path / "book").require(seeds=3, utterances=entries)
    assert len(book) == 12 and len(book.utterances) == 4
    for seed in range(3):
        expected = entries["utt001"].roll(seed, -1).exp()
        torch.testing.assert_close(book.read("utt001", seed).probs(), expected, atol=1e-3, rtol=0)
    batch, lengths = book.collate(["utt001", "utt001"], [0, 2])
    torch.testing.assert_close(batch[1, : lengths[1]].exp(), entries["utt001"].roll(2, -1).exp(), atol=1e-3, rtol=0)


# The manifest.


def test_the_manifest_comes_back(tmp_path):
    from seqkd.knowledge.augmentation import masks, speed

    settings = {
        "teachers": (TeacherId("a", "1", 0.5), TeacherId("b", "2", 0.5)),
        "features": FeatureSettings(num_mel_bins=40),
        "form": TopK(2),
        "augmentation": (masks(width=3), speed(factors=(0.9, 1.1))),
        "seeds": 2,
        "temperature": 2.0,
        "uncertainty": True,
        "regularisation": 0.1,
    }
    made = manifest(**settings)
    with BookWriter(tmp_path / "book", made):
        pass
    read = read_manifest(tmp_path / "book")
    assert read == made and read.hash == made.hash
    assert replace(made, seeds=3).hash != made.hash
    Book.open(tmp_path / "book").require(
        features=FeatureSettings(num_mel_bins=40), augmentation=settings["augmentation"]
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"teachers": ()}, "a book has no teachers; name at least one"),
        ({"teachers": (TeacherId("a", "1", 0.7),)}, "the teachers' weights are 0.7; expected numbers from 0 on"),
        ({"classes": 1}, "a book has 1 classes; expected at least 2"),
        ({"blank": 6}, "the blank of a book is 6; expected a class from 0 to 5"),
        ({"frame_shift_ms": 0.0}, "the frame shift of a book is 0.0 ms; expected more than 0"),
        ({"temperature": math.inf}, "the temperature of a book is inf; expected a number above 0"),
        ({"regularisation": 1.5}, "the regularisation of a book is 1.5; expected from 0 to 1"),
        ({"seeds": 0}, "a book has 0 seeds an utterance; expected at least 1"),
        ({"form": TopK(7)}, "a top-k book keeps 7 classes of 6; expected from 1 to 6"),
    ],
)
def test_a_manifest_that_cannot_be(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        manifest(**changes)


def test_any_source_of_posteriors_may_write(tmp_path):
    # NumPy arrays of another toolkit, and a manifest with the least that is asked for.
    least = Manifest(teachers=(TeacherId("other", "h"),), units="u", classes=3)
    with BookWriter(tmp_path / "book", least) as writer:
        writer.add("song", np.log(np.array([[0.5, 0.25, 0.25]] * 4)))
    assert Book.open(tmp_path / "book").read("song").probs()[0, 0] == pytest.approx(0.5, abs=1e-3)


# Temperatures and features that are none.


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("form", FORMS)
def test_a_temperature_is_above_zero(tmp_path, form, temperature):
    book = write(tmp_path / "book", posteriors(2), form=FORMS[form])
    for use in (
        lambda: book.require(temperature=temperature),
        lambda: book.read("utt000").log_probs(temperature),
        lambda: book.collate(["utt000"], temperature=temperature),
    ):
        with pytest.raises(ConfigError, match=r"is wanted at temperature .*; expected a finite number above 0"):
            use()


def test_features_of_no_matter_fit_every_student(tmp_path):
    book = write(tmp_path / "book", posteriors(2), features=None)
    assert book.require(features={"num_mel_bins": 80}, units="tok1") is book
    with pytest.raises(ConfigError, match="features"):
        write(tmp_path / "other", posteriors(2)).require(features=None)


@pytest.mark.parametrize("form", FORMS)
def test_entropies_are_those_of_the_whole_posteriors(tmp_path, form):
    entries = posteriors(2)
    log_probs, lengths, found = write(tmp_path / "book", entries, form=FORMS[form]).collate_whole(list(entries))
    assert log_probs.shape[:2] == (2, int(lengths.max()))
    if form == "dense":
        assert found is None
        return
    for row, entry in zip(found, entries.values(), strict=True):
        expected = torch.special.entr(entry.exp()).sum(-1)
        torch.testing.assert_close(row[: len(entry)], expected, atol=2e-3, rtol=0)
