from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seqkd.data.batches import (
    Corpus,
    evaluation_batches,
    frames_needed,
    load_corpus,
    training_batches,
)
from seqkd.data.features import FeatureSettings, make_features
from seqkd.data.kaldi import read_data_dir
from seqkd.data.sampling import StepSampler, longest_first
from seqkd.data.tokens import Tokenizer, train_tokenizer
from seqkd.errors import DataError
from tests.tone_corpus import RATE

FEATURES = FeatureSettings(sample_rate=RATE, num_mel_bins=20)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["do re mi fa"], type="word", vocab_size=0)


@pytest.fixture(scope="module")
def corpus(tones: Path, tokenizer: Tokenizer) -> Corpus:
    return load_corpus(tones, ["train"], tokenizer, ["extra"])


@pytest.fixture
def data(tones: Path, tmp_path: Path) -> Path:
    """The tone corpus to break."""
    shutil.copytree(tones, tmp_path / "data")
    return tmp_path / "data"


def sampler(corpus: Corpus, updates: int, **options: int) -> StepSampler:
    return StepSampler(corpus.seconds(), **{"updates": updates, "max_size": 4.0, "seed": 7} | options)


def test_same_seed_same_batches_other_seed_others(corpus: Corpus) -> None:
    assert list(sampler(corpus, 40)) == list(sampler(corpus, 40))
    assert list(sampler(corpus, 40)) != list(sampler(corpus, 40, seed=8))
    assert len(list(sampler(corpus, 40))) == len(sampler(corpus, 40)) == 40


@pytest.mark.parametrize("start", [1, 9, 25, 39, 40])
def test_starting_late_gives_the_tail(corpus: Corpus, start: int) -> None:
    assert list(sampler(corpus, 40, start=start)) == list(sampler(corpus, 40))[start:]


def test_more_updates_do_not_change_earlier_ones(corpus: Corpus) -> None:
    assert list(sampler(corpus, 50))[:40] == list(sampler(corpus, 40))


def test_every_utterance_once_an_epoch(corpus: Corpus) -> None:
    size = len(corpus)
    seen = [u for batch in sampler(corpus, 100) for u in batch]
    epochs = [seen[i : i + size] for i in range(0, len(seen) - size, size)]
    assert len(epochs) > 3
    for epoch in epochs:
        assert sorted(epoch) == sorted(corpus.transcripts)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)  # shuffled anew


def test_batches_keep_to_the_duration(corpus: Corpus) -> None:
    seconds = [sum(corpus.store.frames[u] for u in batch) / 100 for batch in sampler(corpus, 30)]
    assert max(seconds) <= 4.0
    assert sum(seconds) / len(seconds) > 2.0  # and use it


def test_two_processes_get_disjoint_batches_equally_many(corpus: Corpus) -> None:
    one, two = (list(sampler(corpus, 30, rank=rank, world=2)) for rank in range(2))
    assert len(one) == len(two) == 30
    assert not any(set(a) & set(b) for a, b in zip(one, two, strict=True))
    first_epoch: list[str] = []
    for a, b in zip(one, two, strict=True):
        if set(first_epoch) & {*a, *b}:
            break
        first_epoch += [*a, *b]
    assert len(first_epoch) > len(corpus) / 2


def test_too_few_utterances_for_the_processes_is_said(corpus: Corpus) -> None:
    def first(count: int) -> Corpus:
        return Corpus(corpus.store, dict(list(corpus.transcripts.items())[:count]), corpus.targets, {})

    with pytest.raises(DataError, match=r"no batch of 2 × 4 can be made from 2 items; lower training"):
        list(sampler(first(2), 3, world=2))
    with pytest.raises(DataError, match=r"training needs at least 2 items, found 1"):
        list(sampler(first(1), 3))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("max_duration", [0.1, 5.0, 400.0])
def test_evaluation_covers_everything_once(corpus: Corpus, max_duration: float, world: int) -> None:
    shares = [
        [ids for _, ids in evaluation_batches(corpus, max_duration, rank, world).sampler] for rank in range(world)
    ]
    assert sorted(u for share in shares for batch in share for u in batch) == sorted(corpus.transcripts)
    assert all(shares), "a process without a batch leaves the others waiting in validation"
    for batch in (batch for share in shares for batch in share):
        longest = max(corpus.store.frames[u] for u in batch)
        assert len(batch) == 1 or len(batch) * longest <= max_duration * 100


def test_a_batch_may_be_exactly_as_large_as_allowed() -> None:
    """Padding counts: each item is as long as the longest of its batch."""
    sizes = {"a": 2.0, "b": 2.0, "c": 1.0, "d": 1.0, "e": 1.0, "f": 1.0}
    assert longest_first(sizes, 4.0) == [["a", "b"], ["c", "d", "e", "f"]]
    assert longest_first(sizes, 3.9) == [["a"], ["b"], ["c", "d", "e"], ["f"]]
    # Of two processes each gets at least one batch, so that none holds more than half of the items.
    assert longest_first(sizes, 4.0, rank=0, world=2) == [["a", "b"], ["f"]]
    assert longest_first(sizes, 4.0, rank=1, world=2) == [["c", "d", "e"]]


def test_a_batch_holds_what_the_corpus_says(corpus: Corpus) -> None:
    labelled, unlabelled = "s0-train000", "s0-extra000"
    batch = next(iter(training_batches(corpus, [[labelled, unlabelled]], workers=0)))
    assert batch.ids == [labelled, unlabelled]
    assert batch.labelled.tolist() == [True, False]
    assert batch.target_lengths.tolist() == [len(corpus.targets[labelled]), 0]
    assert batch.targets[0].tolist() == corpus.targets[labelled]
    assert batch.feature_lengths.tolist() == [corpus.store.frames[u] for u in batch.ids]
    for row, (u, length) in enumerate(zip(batch.ids, batch.feature_lengths, strict=True)):
        assert batch.features[row, :length].equal(corpus.store[u])
        assert not batch.features[row, length:].any()


def test_unlabelled_sets_have_no_transcripts(tones: Path, tokenizer: Tokenizer, corpus: Corpus) -> None:
    assert len(corpus) == 36
    texts = [corpus.transcripts[u.id] for u in read_data_dir(tones / "extra")]
    assert texts == [None] * 12
    ignored = load_corpus(tones, [], tokenizer, ["dev"])  # transcripts that are there are not looked at
    assert set(ignored.transcripts.values()) == {None}
    assert (ignored.hours(labelled=True), len(ignored)) == (0, 8)
    frames = sum(corpus.store.frames[u.id] for u in read_data_dir(tones / "extra"))
    assert corpus.hours(labelled=False) == pytest.approx(frames / 100 / 3600)


@pytest.mark.parametrize(("targets", "frames"), [([], 0), ([2], 1), ([2, 3], 2), ([2, 2], 3), ([2, 2, 2, 3], 6)])
def test_frames_needed(targets: list[int], frames: int) -> None:
    assert frames_needed(targets) == frames


def rewrite(directory: Path, utterance: str, text: str) -> None:
    lines = (directory / "text").read_text().splitlines()
    changed = [f"{utterance} {text}" if line.split()[0] == utterance else line for line in lines]
    (directory / "text").write_text("".join(f"{line}\n" for line in changed))


def test_transcripts_that_cannot_fit_are_dropped_and_listed(data: Path, tokenizer: Tokenizer) -> None:
    from seqkd.data.subsampling import subsampled_length

    frames = load_corpus(data, ["dev"], tokenizer).store.frames["s1-dev001"]
    available = subsampled_length(frames)
    rewrite(data / "dev", "s1-dev001", " ".join(("do re " * available).split()[:available]))
    make_features(data / "dev", FEATURES, nj=1)
    assert not load_corpus(data, ["dev"], tokenizer).dropped  # just fits
    rewrite(data / "dev", "s1-dev001", "do " * 100)
    make_features(data / "dev", FEATURES, nj=1)
    corpus = load_corpus(data, ["dev"], tokenizer)
    assert corpus.dropped == {"s1-dev001": f"199 frames needed by the transcript, {available} available"}
    assert len(corpus) == 7
    assert "s1-dev001" not in {u for _, batch in evaluation_batches(corpus, 400.0).sampler for u in batch}
    assert len(load_corpus(data, [], tokenizer, ["dev"])) == 8  # decoding keeps it


def test_an_id_in_two_sets(data: Path, tokenizer: Tokenizer) -> None:
    shutil.copytree(data / "train", data / "again")
    with pytest.raises(DataError) as caught:
        load_corpus(data, ["train"], tokenizer, ["again"])
    assert str(caught.value) == (
        f"utterance s0-train000 of {data / 'again'} is also in another set of ['train', 'again']; remove one"
    )


def test_data_newer_than_its_features(data: Path, tokenizer: Tokenizer) -> None:
    rewrite(data / "train", "s0-train000", "do do")
    with pytest.raises(DataError) as caught:
        load_corpus(data, ["train"], tokenizer)
    assert str(caught.value) == (
        f"{data / 'train'} has changed since its features were made; run ./run.sh --stage prepare"
    )
