"""Files in, numbers out: the JSON contract, the tables, the policy for what is missing."""

import json
import re

import pytest
import sentencepiece

from seqkd.cli.score import main
from seqkd.errors import ConfigError, DataError
from seqkd.scoring import score, write_text, write_trn
from seqkd.scoring.evaluate import Options, evaluate, score_files
from seqkd.scoring.pairs import compare_pairs
from seqkd.scoring.schema import __doc__ as contract
from tests.scoring.corpora import corpus


@pytest.fixture
def files(tmp_path):
    references = {f"s{i % 4}-u{i:02}": "one two three four" for i in range(40)}
    write_text(tmp_path / "ref", references)
    write_trn(tmp_path / "good.trn", references | {"s3-u07": "one two three"})
    write_text(tmp_path / "bad", {u: "one too three" if i % 2 else w for i, (u, w) in enumerate(references.items())})
    write_text(tmp_path / "short", {u: w for u, w in references.items() if u != "s3-u07"})
    write_text(tmp_path / "utt2spk", {u: u[:2] for u in references})
    write_text(tmp_path / "utt2dur", {u: str(0.2 * i) for i, u in enumerate(references)})
    write_text(tmp_path / "utt2sex", {u: "mf"[i % 2] for i, u in enumerate(references)})
    return tmp_path


def everything(files, **more):
    return Options(
        utt2spk=files / "utt2spk", utt2dur=files / "utt2dur", utt2group={"sex": files / "utt2sex"}, replicates=100,
        paired_replicates=200, **more,
    )  # fmt: skip


def test_the_contract(files):
    hyps = {"good": files / "good.trn", "bad": files / "bad"}
    score_files(files / "ref", hyps, files / "score.json", options=everything(files))
    result = json.loads((files / "score.json").read_text())
    assert result.keys() == {"schema", "options", "systems", "pairs"}
    assert result["schema"] == 1
    bad = result["systems"]["bad"]
    assert bad["wer"].keys() == {"rate", "errors", "substitutions", "deletions", "insertions", "words", "ci95"}
    assert (bad["wer"]["rate"], bad["wer"]["errors"], bad["wer"]["words"]) == (0.25, 40, 160)
    assert bad["cer"].keys() == bad["wer"].keys() - {"words"} | {"characters"}
    assert bad["cer"]["characters"] == 40 * len("one two three four")
    assert bad["ser"] == {"rate": 0.5, "errors": 20, "sentences": 40, "ci95": bad["ser"]["ci95"]}
    assert bad["per_speaker"].keys() == {"s0", "s1", "s2", "s3"}
    assert bad["per_speaker"]["s1"]["rate"] == 0.5
    assert bad["per_speaker"]["s0"]["ci95"] == [0.0, pytest.approx(0.08762, abs=1e-5)]  # no error in 40 words
    assert bad["per_group"]["sex"]["f"]["errors"] == 40
    assert [row["range"] for row in bad["by_length"]] == ["4–7"]
    assert [row["range"] for row in bad["by_duration"]] == ["0–2", "2–5", "5–10"]
    assert bad["confusions"] == {
        "substitutions": [{"reference": "two", "hypothesis": "too", "count": 20}],
        "insertions": [],
        "deletions": [{"word": "four", "count": 20}],
    }
    (pair,) = result["pairs"]
    assert {"a", "b", "delta", "p_bootstrap", "p_mapsswe"} <= pair.keys()
    assert (pair["a"], pair["b"], pair["delta"]) == ("good", "bad", pytest.approx(1 / 160 - 0.25))
    assert pair["ci95"][0] < pair["delta"] < pair["ci95"][1] < 0
    assert pair["p_improvement"] == 1.0
    assert pair["p_mapsswe"] == 2**-19  # 20 segments differ: as likely as 20 coins on one side
    assert "wer_ci95_speakers" not in bad  # over 4 speakers
    assert pair["p_bootstrap_speakers"] >= 2**-3
    assert pair["units"] == 40


def keys(value):
    """Every key of nested dictionaries whose names are not data."""
    data = {"systems", "per_speaker", "sex"}
    if isinstance(value, list):
        return set().union(*map(keys, value)) if value and isinstance(value[0], dict) else set()
    if not isinstance(value, dict):
        return set()
    found = set()
    for key, item in value.items():
        found |= {key} | (set().union(*map(keys, item.values())) if key in data else keys(item))
    return found


def test_every_key_is_documented(files):
    lines = [
        {"id": u, "text": w, "confidences": [0.5] * len(w.split()), "nbest": [w, ""]}
        for u, w in (line.split(maxsplit=1) for line in (files / "bad").read_text().splitlines())
    ]
    (files / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = evaluate(files / "ref", {"x": files / "x.jsonl", "y": files / "bad"}, everything(files)).json
    undocumented = {key for key in keys(result) if f'"{key}"' not in contract} - {"sex", "paired_replicates"}
    assert not undocumented
    assert result["systems"]["x"]["calibration"]["count"] == 140
    assert result["systems"]["x"]["oracle"]["errors"] == 40
    assert result["systems"]["x"]["oracle"]["mean_hypotheses"] == 2.0


def test_the_table(files):
    hyps = {"good": files / "good.trn", "bad": files / "bad"}
    table = score_files(files / "ref", hyps, options=everything(files), details=True)
    lines = table.splitlines()
    assert " ".join(lines[0].split()) == "system WER % 95 % interval sub del ins words CER % SER %"
    assert " ".join(lines[2].split()).startswith("good 0.62 0.11 – 3.62 ")
    assert lines[3].split()[:2] == ["bad", "25.00"]
    assert lines[3].split()[5:9] == ["20", "20", "0", "160"]
    assert "No interval over speakers: 4 are too few, 10 are needed." in lines
    assert re.search(
        r"^good − bad: -24.38 points \(.*\), p < .0001 \(bootstrap\), p < .0001 \(MAPSSWE, Z = ", table, re.M
    )
    assert "References without a hypothesis (an error, missing: error): good 0, bad 0." in lines
    assert "  MAPSSWE assumes a normal distribution, for which 20 segments are few." in lines
    assert re.search(
        r"^Signature: costs:fewest\|norm:none\|unicode:NFC\|markup:none\|spaces:count\|missing:error", table, re.M
    )
    for heading in ("by speaker", "by sex", "by reference words", "by seconds", "most frequent substitutions"):
        assert f"bad: {heading}" in lines
    assert "     20  two → too" in lines


def test_same_seed_same_output(files):
    hyps = {"good": files / "good.trn", "bad": files / "bad"}
    one, same, other = (evaluate(files / "ref", hyps, everything(files, seed=seed)).json for seed in (3, 3, 4))
    assert one == same
    assert one["pairs"] != other["pairs"]


def test_several_comparisons_are_announced(files):
    hyps = {"one": files / "good.trn", "two": files / "good.trn", "three": files / "bad"}
    table = score_files(files / "ref", hyps)
    assert "uncorrected for 3 comparisons; * marks those below .05 after Holm's correction." in table
    assert "one − two: +0.00 points (+0.00 to +0.00), p = 1.0000 (bootstrap), p = 1.0000 (MAPSSWE, Z = 0.000" in table
    assert table.count("p < .0001 * (bootstrap)") == 2
    assert table.count("p < .0001 * (MAPSSWE") == 2


def test_few_utterances_have_no_interval(tmp_path):
    write_text(tmp_path / "ref", {"utt1": "one two three four five"})
    write_text(tmp_path / "x", {"utt1": "one two three four"})
    write_text(tmp_path / "y", {"utt1": "one two three"})
    hyps = {"x": tmp_path / "x", "y": tmp_path / "y"}
    table = score_files(tmp_path / "ref", hyps, tmp_path / "json")
    assert "Fewer than 10 utterances are too few for an interval." in table
    assert "x − y: -20.00 points (no interval), p = 1.0000 (exact sign-flip test), p = 1.0000 (MAPSSWE" in table
    assert "Intervals" not in table
    result = json.loads((tmp_path / "json").read_text())
    assert result["systems"]["x"]["wer"]["ci95"] is None and result["pairs"][0]["ci95"] is None


def test_all_against_a_baseline(files):
    hyps = {"one": files / "good.trn", "two": files / "bad", "three": files / "good.trn"}
    result = evaluate(files / "ref", hyps, Options(baseline="two", replicates=10, paired_replicates=10)).json
    assert [(pair["a"], pair["b"]) for pair in result["pairs"]] == [("one", "two"), ("three", "two")]
    assert result["options"]["baseline"] == "two"
    with pytest.raises(ConfigError, match="--baseline four is none of the systems; known: one, two, three"):
        evaluate(files / "ref", hyps, Options(baseline="four"))


def test_many_systems_are_compared_with_the_best(files):
    hyps = {f"bad{number}": files / "bad" for number in range(6)} | {"good": files / "good.trn"}
    table = score_files(files / "ref", hyps, options=Options(replicates=10, paired_replicates=10))
    assert "6 of 21 pairs are shown, those with good, the best;" in table
    assert table.count(" points (") == 6


def test_a_line_for_scripts(files, capsys):
    arguments = ["--ref", str(files / "ref"), "--hyp", str(files / "good.trn"), "--wer"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "%WER 0.62 [ 1 / 160, 0 ins, 1 del, 0 sub ]\n"
    assert main([*arguments, "--hyp", f"other={files / 'bad'}", "--baseline", "good"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "%WER 25.00 [ 40 / 160, 0 ins, 20 del, 20 sub ] other"


def test_missing_hypotheses_are_never_silent(files):
    with pytest.raises(DataError, match=r"short against .*ref: 1 utterance \(s3-u07\) is without a hypothesis"):
        score_files(files / "ref", {"short": files / "short"})
    for policy, fate, errors in [("all", "scored as empty", 4), ("present", "left out", 0)]:
        table = score_files(
            files / "ref", {"short": files / "short"}, files / "x.json", options=Options(missing=policy)
        )
        assert f"References without a hypothesis ({fate}, missing: {policy}): short 1." in table
        system = json.loads((files / "x.json").read_text())["systems"]["short"]
        assert (system["missing"], system["wer"]["errors"]) == (1, errors)


def test_only_the_same_utterances_are_compared():
    references = {"a": "x", "b": "y"}
    scores = {"p": score(references, references), "q": score(references, {"a": "x"}, missing="present")}
    with pytest.raises(DataError, match="p and q were scored on different utterances"):
        compare_pairs(scores)


def test_systems_that_take_alternatives_of_unlike_length():
    references = {"a": "{ x / y z }", "b": "u v"}
    scores = {
        name: score(references, hypotheses, markup="alternatives", replicates=10)
        for name, hypotheses in {"p": {"a": "x", "b": "u w"}, "q": {"a": "y z", "b": "u w"}}.items()
    }
    assert [result.wer.words for result in scores.values()] == [3, 4]
    (pair,) = compare_pairs(scores, replicates=50)
    assert pair.bootstrap.delta == pytest.approx(1 / 3 - 1 / 4)
    assert (pair.mapsswe.segments, pair.mapsswe.mean) == (1, 0.0)


def test_tokens(tmp_path):
    references, hypotheses = corpus(60, empty=False)
    write_text(tmp_path / "ref", references)
    write_text(tmp_path / "hyp", hypotheses)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(references.values()), model_prefix=str(tmp_path / "m"), vocab_size=30, minloglevel=2
    )
    table = score_files(
        tmp_path / "ref", {"x": tmp_path / "hyp"}, tmp_path / "x.json", options=Options(tokens=tmp_path / "m.model")
    )
    rate = json.loads((tmp_path / "x.json").read_text())["systems"]["x"]["ter"]
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    assert rate["tokens"] == sum(len(model.encode(text)) for text in references.values())
    assert 0 < rate["rate"] < 1
    assert "TER %" in table


def test_spaces_as_characters():
    counted = score(["a b"], ["ab"], replicates=1)
    assert (counted.cer.errors, counted.cer.words) == (1, 3)
    ignored = score(["a b"], ["ab"], spaces="ignore", replicates=1)
    assert (ignored.cer.errors, ignored.cer.words) == (0, 2)
    with pytest.raises(ConfigError, match="spaces is 'some'; expected one of count, ignore"):
        score(["a"], ["a"], spaces="some")


def test_lists():
    result = score(["one two", ""], ["one", "x"], replicates=1)
    assert result.utterances.ids == ("1", "2")
    assert (result.wer.deletions, result.wer.insertions) == (1, 1)


def test_speaker_intervals_are_wider_where_speakers_differ():
    references = {f"s{i % 10}-{i}": "a b c d" for i in range(300)}
    hypotheses = {u: "x x x x" if u.startswith(("s1", "s2")) else text for u, text in references.items()}
    speakers = {u: u.partition("-")[0] for u in references}
    result = score(references, hypotheses, blocks=speakers)
    width = result.wer.ci95[1] - result.wer.ci95[0]
    assert result.ci95_blocks[1] - result.ci95_blocks[0] > 3 * width


def test_n_best_lists_from_a_file(files):
    lists = {}
    for line in (files / "ref").read_text().splitlines():
        utterance, text = line.split(maxsplit=1)
        lists |= {f"{utterance}-1": "one", f"{utterance}-2": text}
    write_text(files / "nbest", lists)
    options = Options(nbest={"bad": files / "nbest"})
    system = evaluate(files / "ref", {"bad": files / "bad"}, options).json["systems"]["bad"]
    assert system["oracle"]["errors"] == 0
    assert system["wer"]["errors"] == 40
