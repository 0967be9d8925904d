"""sclite's numbers: the same alignments, the same rows, the same Z. Skipped where Debian's sctk cannot be had."""

import random

import pytest

from seqkd.scoring import SCLITE, count, lattice, score
from seqkd.scoring.evaluate import Options, evaluate
from seqkd.statistics.mapsswe import matched_pairs
from tests.scoring import sclite
from tests.scoring.corpora import adversarial, corpus, spoil

LETTERS = "CSDIC"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """20,000 pairs: random ones and such with many equally good alignments."""
    references, hypotheses = corpus(10_000, seed=1)
    more, others = adversarial(10_000, seed=2)
    references, hypotheses = references | more, hypotheses | others
    # sclite has no utterances that are empty on both sides.
    references = {
        utterance: text or ("x" if not hypotheses[utterance] else "") for utterance, text in references.items()
    }
    folder = tmp_path_factory.mktemp("sclite")
    sclite.write_trn(folder / "ref", references)
    sclite.write_trn(folder / "hyp", hypotheses)
    return folder, references, hypotheses


def test_every_alignment(pairs):
    folder, references, hypotheses = pairs
    theirs = sclite.alignments(sclite.sclite(folder, "hyp"))
    ours = count(references, hypotheses, costs=SCLITE, characters=False)
    assert len(theirs) == len(ours.ids) == 20_000
    for index, utterance in enumerate(ours.ids):
        steps = "".join(LETTERS[op] for op in ours.alignments.alignments[index])
        assert steps == "".join(step for step, *_ in theirs[utterance]), utterance
    every = [step for steps in theirs.values() for step, *_ in steps]
    totals = tuple(every.count(kind) for kind in "SDI")
    assert (ours.words.substitutions.sum(), ours.words.deletions.sum(), ours.words.insertions.sum()) == totals
    assert ours.words.errors.sum() == sum(totals) > 40_000


def test_speaker_rows(pairs):
    folder, *_ = pairs
    theirs = sclite.speaker_rows(folder, "hyp")
    # Two trn files read by us, as a user has them; speakers as sclite finds them in the ids.
    (folder / "ref.trn").write_bytes((folder / "ref").read_bytes())
    (folder / "hyp.trn").write_bytes((folder / "hyp").read_bytes())
    options = Options(costs=SCLITE, utt2spk="prefix", replicates=10)
    ours = evaluate(folder / "ref.trn", {"hyp": folder / "hyp.trn"}, options).json["systems"]["hyp"]["per_speaker"]
    assert ours.keys() == theirs.keys() - {"Sum"}
    assert len(ours) == 7
    for speaker, row in ours.items():
        kinds = [row[kind] for kind in ("substitutions", "deletions", "insertions", "errors", "wrong_sentences")]
        correct = row["words"] - row["substitutions"] - row["deletions"]
        assert (row["sentences"], row["words"], correct, *kinds) == theirs[speaker], speaker


@pytest.mark.parametrize(("rates", "seed"), [((0.1, 0.1), 0), ((0.2, 0.15), 1), ((0.7, 0.6), 2)])
def test_matched_pairs(tmp_path, rates, seed):
    source = random.Random(seed)
    words = [f"w{i}" for i in range(40)]
    references = {f"s{i % 5}-u{i:04d}": source.choices(words, k=source.randint(1, 20)) for i in range(400)}
    systems = {
        name: {u: " ".join(spoil(source, reference, words, rate)) for u, reference in references.items()}
        for name, rate in zip("ab", rates, strict=True)
    }
    references = {utterance: " ".join(reference) for utterance, reference in references.items()}
    sclite.write_trn(tmp_path / "ref", references)
    for name, hypotheses in systems.items():
        sclite.write_trn(tmp_path / name, hypotheses)
        sclite.sclite(tmp_path, name)
    ours = matched_pairs(*(count(references, h, costs=SCLITE).alignments.errors() for h in systems.values()))
    assert (ours.segments, f"{ours.mean:.3f}", f"{ours.deviation:.3f}", f"{ours.z:.3f}") == sclite.matched_pairs(
        tmp_path, "a", "b"
    )


@pytest.mark.parametrize(("markup", "flags"), [("alternatives", []), ("all", ["-D"])])
def test_alternatives_and_optional_words(tmp_path, markup, flags):
    source = random.Random(4)

    def alternatives():
        return "{ " + " / ".join(" ".join(source.choices("abcde", k=source.randint(1, 3))) for _ in range(2)) + " }"

    references, hypotheses = {}, {}
    for i in range(1000):
        parts = [
            alternatives() if fate < 0.3 else f"({source.choice('abcde')})" if fate < 0.45 else source.choice("abcde")
            for fate in (source.random() for _ in range(source.randint(1, 7)))
        ]
        references[f"s0-{i}"] = " ".join(parts)
        hypotheses[f"s0-{i}"] = " ".join(source.choices("abcde", k=source.randint(1, 9)))
    sclite.write_trn(tmp_path / "ref", references)
    sclite.write_trn(tmp_path / "hyp", hypotheses)
    theirs = sclite.alignments(sclite.sclite(tmp_path, "hyp", *flags))
    result = score(references, hypotheses, costs=SCLITE, markup=markup, replicates=10)
    steps = list(theirs.values())
    assert result.wer.words == sum(step != "I" for one in steps for step, *_ in one)
    for kind, number in zip(
        "SDI", (result.wer.substitutions, result.wer.deletions, result.wer.insertions), strict=True
    ):
        assert number == sum(step == kind for one in steps for step, *_ in one)
    for index, utterance in enumerate(result.utterances.ids):
        ops = result.utterances.alignments.alignments[index]
        assert "".join(LETTERS[op] for op in ops) == "".join(step for step, *_ in theirs[utterance]), utterance
        chosen, *_ = lattice.align(lattice.parse(references[utterance], markup), hypotheses[utterance].split(), *SCLITE)
        bare = [word.strip("()") if flags else word for step, word, _ in theirs[utterance] if step != "I"]
        assert chosen == bare
