"""The method of every interval and p-value is named as it was used."""

import pytest

from seqkd.scoring import score, write_text
from seqkd.scoring.evaluate import Options, evaluate, score_files
from seqkd.scoring.intervals import method, sentence
from seqkd.statistics.bootstrap import bootstrap_interval


def table(folder, utterances, *, speakers=0, **wrong):
    """Return the table of systems, each with so many wrong utterances, and what was evaluated."""
    references = {f"s{i % max(speakers, 1):02}-{i:03}": "a b" for i in range(utterances)}
    write_text(folder / "ref", references)
    for name, count in wrong.items():
        write_text(folder / name, {u: "a x" if i < count else text for i, (u, text) in enumerate(references.items())})
    options = Options(replicates=50, paired_replicates=50, utt2spk="prefix" if speakers else None)
    hyps = {name: folder / name for name in wrong}
    return score_files(folder / "ref", hyps, options=options), evaluate(folder / "ref", hyps, options).json


@pytest.mark.parametrize(
    ("utterances", "wrong", "said"),
    [
        (120, {"x": 5}, "Intervals: bootstrap over utterances, 50 replicates, seed 0."),
        (40, {"x": 5}, "Intervals: Wilson's over utterances."),
        (120, {"x": 0}, "Intervals: Wilson's over utterances."),  # all replicates are alike: they show nothing
        (
            120,
            {"x": 5, "y": 0, "z": 7},
            "Intervals: bootstrap over utterances, 50 replicates, seed 0 (x, z); Wilson's over utterances (y).",
        ),
        (9, {"x": 5}, None),
    ],
)
def test_the_method_is_named(tmp_path, utterances, wrong, said):
    text, _ = table(tmp_path, utterances, **wrong)
    assert [line for line in text.splitlines() if line.startswith("Intervals")] == ([said] if said else [])


def test_each_rate_has_its_own(tmp_path):
    _, result = table(tmp_path, 120, x=5, y=0)
    assert result["systems"]["x"]["intervals"] == {"ser": "bootstrap", "wer": "bootstrap", "cer": "bootstrap"}
    assert result["systems"]["y"]["intervals"] == {"ser": "Wilson", "wer": "Wilson", "cer": "Wilson"}
    _, few = table(tmp_path, 9, x=5)
    assert set(few["systems"]["x"]["intervals"].values()) == {None}


@pytest.mark.parametrize(
    ("speakers", "said"), [(12, "x, Wilson's over 12 speakers: "), (110, "x, bootstrap over 110 ")]
)
def test_speakers_have_their_own_method(tmp_path, speakers, said):
    text, result = table(tmp_path, 220, speakers=speakers, x=30)
    assert f"\n{said}" in text
    assert result["systems"]["x"]["intervals"]["speakers"] == ("Wilson" if speakers < 100 else "bootstrap")


def test_few_units_are_not_drawn_from(tmp_path):
    text, _ = table(tmp_path, 40, speakers=4, x=9, y=1)
    assert "(bootstrap), " in text and "(exact sign-flip test over 4 speakers)" not in text
    assert text.count("(exact sign-flip test over speakers)") == 1
    text, _ = table(tmp_path, 9, x=9, y=1)
    assert "(exact sign-flip test), " in text and "(bootstrap)" not in text


def test_an_interval_by_the_bootstrap_depends_on_the_seed_and_no_other():
    for errors in ([1, 0, 2] * 10, [1, 0, 2] * 50, [0] * 150, [9, 8, 7] * 10):
        words = [4] * len(errors)
        drawn = [bootstrap_interval(errors, words, replicates=20, seed=seed) for seed in range(6)]
        assert method(errors, words) == ("bootstrap" if len(set(drawn)) > 1 else "Wilson")
    assert sentence({"x": None}, "utterances", 10, 0) == ""


def test_what_is_scored_without_files_has_it_too():
    result = score(["a b"] * 20, ["a b", "a x"] * 10, blocks={str(i): i % 10 for i in range(1, 21)}, replicates=10)
    assert result.intervals == {"ser": "Wilson", "wer": "Wilson", "cer": "Wilson", "speakers": "Wilson"}
