"""Rates beside the word error rate: against jiwer, against the words they are defined on, and by hand."""

import random
import unicodedata

import jiwer
import numpy as np
import pytest

from seqkd.scoring import Normalizer, count
from seqkd.scoring.evaluate import Options, evaluate
from seqkd.scoring.rates.beside import beside
from seqkd.scoring.rates.keywords import absent_phrases, keyword_rates, read_keywords, split_tags
from seqkd.scoring.rates.matches import match_rates
from seqkd.scoring.wer import Counts
from tests.scoring.corpora import corpus


def test_matches_are_jiwers():
    for seed in range(30):
        references, hypotheses = corpus(20, seed=seed, empty=False)
        theirs = jiwer.process_words(list(references.values()), list(hypotheses.values()))
        parts = (theirs.substitutions, theirs.deletions, theirs.insertions)
        words = theirs.hits + theirs.substitutions + theirs.deletions
        same = match_rates(Counts(*(np.array([part]) for part in parts), np.array([words])))
        assert (same.mer, same.wil, same.wip) == pytest.approx((theirs.mer, theirs.wil, theirs.wip))
        ours = match_rates(count(references, hypotheses).words)
        assert ours.hits >= theirs.hits
        assert ours.mer <= theirs.mer + 1e-12
        if ours.hits == theirs.hits:
            assert (ours.mer, ours.wil, ours.wip) == pytest.approx((theirs.mer, theirs.wil, theirs.wip))


def test_matches_of_nothing():
    assert match_rates(count(["", "a"], ["", ""]).words).wip == 0
    assert match_rates(count([""], [""]).words).to_json() == {"mer": 0.0, "wil": 0.0, "wip": 1.0, "hits": 0}
    assert match_rates(count([""], ["a"]).words).mer == 1


def together(references, hypotheses, **asked):
    steps = "lower"
    normalizer = Normalizer(steps)
    utterances = count(references, hypotheses, normalizer=normalizer)

    def derive(more):
        return Normalizer(f"{steps},{more[1:]}" if more.startswith("+") else more)

    return beside(references, hypotheses, utterances, normalizer=normalizer, derive=derive, **asked)


def test_mixed_error_rate():
    # Five characters and two words; one character and one word wrong, one character more.
    mixed = together({"a": "我们 meet 在哪里 Tuesday"}, {"a": "我门 meet 在哪里啊 thursday"}, mixed=True).mixed
    assert (mixed.length.sum(), mixed.substitutions.sum(), mixed.insertions.sum()) == (7, 2, 1)
    source = random.Random(3)
    units = [*"我们在哪里吗好的是", "meet", "tuesday", "ok"]
    references = {str(i): source.choices(units, k=source.randint(1, 9)) for i in range(200)}
    hypotheses = {
        key: [source.choice(units) if source.random() < 0.3 else u for u in value] for key, value in references.items()
    }

    def glue(words):
        text = ""
        for word in words:
            text += f" {word} " if word.isascii() else word
        return " ".join(text.split())

    one = together({k: glue(v) for k, v in references.items()}, {k: glue(v) for k, v in hypotheses.items()}, mixed=True)
    other = count({k: " ".join(v) for k, v in references.items()}, {k: " ".join(v) for k, v in hypotheses.items()})
    assert one.mixed.errors.tolist() == other.words.errors.tolist()


def test_case_and_punctuation():
    done = together({"a": "Yes, Ada is here."}, {"a": "yes ada is here"}, formatted=True).formatted
    counts = {name: (int(one.errors.sum()), int(one.length.sum())) for name, one in done.items()}
    assert counts == {"plain": (0, 4), "cased": (2, 4), "punctuated": (2, 6), "formatted": (4, 6)}


def test_keywords():
    references = ["call ada lovelace at noon", "ada wrote it", "no name here"]
    hypotheses = ["call ada love lace at noon", "ada wrote it ada", "no name ada lovelace here"]
    rates = keyword_rates(count(references, hypotheses), ["ada lovelace", "ada", "grace"])
    # Listed in the references: ada lovelace, and ada. "lovelace" is wrong; added are ada, and ada lovelace. "love" is
    # an error beside the list.
    assert (rates.words, rates.errors, rates.other_words, rates.other_errors) == (3, 4, 8, 1)
    assert (rates.occurrences, rates.found, rates.proposed, rates.correct) == (2, 1, 4, 2)
    said = rates.to_json()
    assert (said["recall"], said["precision"], said["other_rate"]) == (0.5, 0.5, 1 / 8)
    nothing = keyword_rates(count(references, hypotheses), ["grace"]).to_json()
    assert nothing["rate"] is None and nothing["recall"] is None


def test_listed_and_other_errors_are_all_errors():
    references, hypotheses = corpus(300, seed=5)
    done = count(references, hypotheses)
    rates = keyword_rates(done, ["w1", "w2 w3", "w4"])
    assert rates.errors + rates.other_errors == done.words.errors.sum()
    assert rates.words + rates.other_words == done.words.length.sum()
    single = keyword_rates(done, ["w1", "w4"])
    listed = {"w1", "w4"}
    by_hand = sum(text.split().count(word) for text in references.values() for word in listed)
    assert single.words == single.occurrences == by_hand
    every = keyword_rates(done, [f"w{i}" for i in range(30)])
    assert (every.errors, every.other_errors) == (done.words.errors.sum(), 0)


def test_phrases_match_in_any_normal_form(tmp_path):
    composed, decomposed = ("".join(unicodedata.normalize(form, "Zoë")) for form in ("NFC", "NFD"))
    (tmp_path / "names").write_text(f"{decomposed}\nGrace\nAda Lovelace\n")
    (tmp_path / "rules").write_text(f"{composed} => {composed}x\n")  # changes what is in NFC alone
    (tmp_path / "hyp").write_text(f"u-1 {composed} met ada\n")
    for form in (composed, decomposed):
        (tmp_path / "ref").write_text(f"u-1 <name>{form}</name> met Ada\n")
        for rules in (None, tmp_path / "rules"):
            asked = {"keywords": {"people": tmp_path / "names"}, "tagged": True, "rules": rules, "replicates": 1}
            done = evaluate(tmp_path / "ref", {"x": tmp_path / "hyp"}, Options(**asked))
            said = done.json["systems"]["x"]["beside"]["keywords"]
            assert said["people"]["recall"] == said["name"]["recall"] == 1
            assert (said["people"]["absent"], said["name"]["absent"]) == (["Grace", "Ada Lovelace"], [])
            assert "x: keywords people: in no reference occur Grace, Ada Lovelace." in done.notes
    rates = keyword_rates(count([composed], [decomposed]), [decomposed])
    assert (rates.found, rates.proposed) == (1, 1)


def test_phrases_that_occur_nowhere():
    done = count(["call ada lovelace", "ada byron"], ["call grace hopper", "lovelace"])
    phrases = ["ada lovelace", "lovelace", "grace", "lovelace ada", "", "byron"]
    # "lovelace" stands within a longer phrase only; no phrase goes on in the next utterance.
    assert [phrases[at] for at in absent_phrases(done, phrases)] == ["grace", "lovelace ada", ""]
    many = beside(
        {"a": "x"}, {"a": "x"}, count({"a": "x"}, {"a": "x"}), normalizer=Normalizer(), derive=Normalizer,
        keywords={"list": [f"w{number}" for number in range(9)]},
    )  # fmt: skip
    assert many.lines()[-1] == "keywords list: in no reference occur w0, w1, w2, w3, w4 and 4 others"


def test_lists_and_tags(tmp_path):
    (tmp_path / "names").write_text(";; people\nAda Lovelace\n\nGrace\n")
    assert read_keywords(tmp_path / "names") == ["Ada Lovelace", "Grace"]
    plain, phrases = split_tags({"u": "<person>Ada Lovelace</person> met <unk> at <place>Turin</place>", "v": "x"})
    assert plain == {"u": "Ada Lovelace met <unk> at Turin", "v": "x"}
    assert phrases == {"person": {"Ada Lovelace"}, "place": {"Turin"}}
    (tmp_path / "ref").write_text("u-1 <person>Ada Lovelace</person> met Grace\n")
    (tmp_path / "hyp").write_text("u-1 ada lovelace met grease\n")
    options = Options(
        normalize="lower",
        keywords={"people": tmp_path / "names"},
        tagged=True,
        mixed=True,
        formatted=True,
        replicates=1,
    )
    done = evaluate(tmp_path / "ref", {"x": tmp_path / "hyp"}, options)
    said = done.json["systems"]["x"]["beside"]
    assert said["keywords"]["people"]["rate"] == 1 / 3
    assert said["keywords"]["person"]["recall"] == 1
    assert said["formatted"]["cased"]["errors"] == 3
    assert said["mixed"]["units"] == 4
    assert any(
        line.startswith("x: keywords people: WER 33.33% of 3 words, others 0.00%; recall 50.00% of 2")
        for line in done.notes
    )
