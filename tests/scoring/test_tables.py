import json

import pytest

from seqkd.errors import DataError
from seqkd.scoring import compare_pairs, score, score_files, write_text, write_trn


@pytest.fixture
def corpus(tmp_path):
    references = {f"u{i:02}": "one two three four" for i in range(40)}
    write_text(tmp_path / "ref", references)
    write_trn(tmp_path / "good.trn", references | {"u07": "one two three"})
    write_text(tmp_path / "bad", {u: "one too three" if i % 2 else w for i, (u, w) in enumerate(references.items())})
    write_text(tmp_path / "short", {u: w for u, w in references.items() if u != "u07"})
    return tmp_path


def test_table_and_json(corpus):
    hyps = {"good": corpus / "good.trn", "bad": corpus / "bad"}
    table = score_files(corpus / "ref", hyps, corpus / "score.json").splitlines()
    assert " ".join(table[0].split()) == "system WER % 95 % interval sub del ins words CER % SER %"
    assert " ".join(table[2].split()) == "good 0.62 0.00 – 1.88 0 1 0 160 0.69 2.50"
    assert table[3].split()[:2] == ["bad", "25.00"]
    assert table[3].split()[5:9] == ["20", "20", "0", "160"]
    assert any(line.startswith("good − bad: -24.38 points (") for line in table)

    result = json.loads((corpus / "score.json").read_text())
    assert result.keys() == {"schema", "options", "systems", "pairs"}
    assert result["schema"] == 1
    wer = result["systems"]["bad"]["wer"]
    assert wer.keys() == {"rate", "errors", "substitutions", "deletions", "insertions", "words", "ci95"}
    assert (wer["rate"], wer["errors"], wer["words"]) == (0.25, 40, 160)
    assert result["systems"]["bad"]["ser"]["rate"] == 0.5
    assert result["systems"]["bad"]["cer"]["characters"] == 40 * len("one two three four")
    (pair,) = result["pairs"]
    assert (pair["a"], pair["b"], pair["delta"]) == ("good", "bad", pytest.approx(1 / 160 - 0.25))
    assert pair["ci95"][0] < pair["delta"] < pair["ci95"][1] < 0
    assert pair["p_bootstrap"] == pytest.approx(2 / 10_001)


def test_same_seed_same_output(corpus):
    hyps = {"good": corpus / "good.trn", "bad": corpus / "bad"}
    assert score_files(corpus / "ref", hyps, seed=3) == score_files(corpus / "ref", hyps, seed=3)


def test_several_comparisons_are_announced(corpus):
    hyps = {"one": corpus / "good.trn", "two": corpus / "good.trn", "three": corpus / "bad"}
    table = score_files(corpus / "ref", hyps)
    assert "uncorrected for 3 comparisons" in table
    assert "one − two: +0.00 points (+0.00 to +0.00), p = 1.0000\n" in table
    assert table.count("p = 0.0002 *") == 2


def test_missing_hypotheses_are_never_silent(corpus):
    with pytest.raises(DataError, match=r"short against .*ref: 1 utterance \(u07\) is without a hypothesis"):
        score_files(corpus / "ref", {"short": corpus / "short"})
    for policy, fate in [("all", "scored as empty"), ("present", "left out")]:
        table = score_files(corpus / "ref", {"short": corpus / "short"}, missing=policy)
        assert f"short: references without a hypothesis, {fate}: 1." in table


def test_malformed_files_are_named(corpus):
    (corpus / "bad").write_text("u00 one\nu00 two\n")
    with pytest.raises(DataError) as fault:
        score_files(corpus / "ref", {"bad": corpus / "bad"})
    assert str(fault.value) == f"{corpus / 'bad'}, line 2: utterance u00 was already given in line 1."


def test_only_the_same_utterances_are_compared():
    references = {"a": "x", "b": "y"}
    scores = {"p": score(references, references), "q": score(references, {"a": "x"}, missing="present")}
    with pytest.raises(DataError, match="p and q were scored on different utterances"):
        compare_pairs(scores)
