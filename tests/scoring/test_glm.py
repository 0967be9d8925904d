"""NIST's mapping files: what rfilter1 of Debian's sctk makes of the same lines."""

import random
import subprocess

import pytest

from seqkd.errors import DataError
from seqkd.scoring import Normalizer, score
from seqkd.scoring.evaluate import Options, evaluate
from seqkd.scoring.formats import Reading
from seqkd.scoring.norms.glm import read_mapping
from tests.scoring import sclite
from tests.scoring.sctk_samples import SAMPLES

HEAD = ";;\n* name \"x\"\n* format = 'NIST1'\n* case_sensitive = 'F'\n* copy_no_hit = 'T'\n"


def rfilter(rules, lines):
    padded = "".join(f" {line} \n" for line in lines)
    done = subprocess.run(
        [sclite.require() / "rfilter1", rules], input=padded, capture_output=True, text=True, check=True
    )
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def test_the_evaluations_own_file_against_rfilter():
    if not SAMPLES.is_dir():
        pytest.skip(f"{SAMPLES} is missing")
    path = SAMPLES / "en20090415.glm"
    mapping = read_mapping(path)
    # One line of the file lacks a bracket, and rfilter1 cuts it at its last slash; here the bracket is left out.
    assert mapping.nist and mapping.any_case and len(mapping.rules) > 1700
    source = random.Random(0)
    assert mapping.apply("webster's") == "{WEBSTER'S / WEBSTER IS / WEBSTER HAS}"
    rules = [rule for rule in mapping.rules if rule.source != "WEBSTER'S"]
    words = [word for rule in rules for word in rule.source.split()]
    lines = [" ".join(source.choices(words, k=source.randint(1, 12))) for _ in range(1500)]
    lines += [" ".join(rule.source.lower() for rule in source.choices(rules, k=4)) for _ in range(1500)]
    lines += (SAMPLES / "lvc_hyp.txt").read_text().splitlines()
    lines = [" ".join(line.split()) for line in lines]
    theirs = rfilter(path, lines)
    assert [mapping.apply(line) for line in lines] == theirs


def test_contexts_order_and_duplicates(tmp_path):
    path = tmp_path / "x.glm"
    path.write_text(
        HEAD + "[uh]  => [hesitation] / [ ] __ [ ]\n"
        "[um]  => [] / [ ] __ [ ]\n"
        "[the] => [a] / [in ] __ [ world]\n"
        "[the] => [THE] / [ ] __ [ ]\n"
        "[the] => [never] / [ ] __ [ ]\n"
        "[gonna] => [{gonna / going to}] / [ ] __ [ ]\n"
        "colour => color\n"
        '"new york city" => nyc / [ ] __ [ ] ;; a comment\n'
    )
    lines = ["Uh in the world the colours", "um gonna uhuh", "NEW YORK CITY's new york city", "in the", ""]
    ours = [read_mapping(path).apply(line) for line in lines]
    assert ours == [
        "hesitation in a world THE colors", "{gonna / going to} uhuh", "NEW YORK CITY's nyc", "in THE", "",
    ]  # fmt: skip
    assert ours == rfilter(path, lines)


def test_both_sides_get_alternatives(tmp_path):
    path = tmp_path / "x.glm"
    path.write_text(HEAD + "[gonna] => [{gonna / going to}] / [ ] __ [ ]\n[it's] => [{it's / it is}] / [ ] __ [ ]\n")
    normalizer = Normalizer("lower", path)
    references = ["I am going to go", "it's fine", "I'm gonna", "it is { ok / gonna }"]
    hypotheses = ["i am gonna go", "it is fine", "i'm going to", "it's going to"]
    result = score(references, hypotheses, normalizer=normalizer, markup="alternatives", replicates=1)
    assert result.wer.errors == 0
    assert score(["it is"], ["its"], normalizer=normalizer, replicates=1).wer.errors == 2


def test_a_context_alone_makes_a_file_nists(tmp_path):
    path = tmp_path / "x.glm"
    path.write_text("[a] => [b] / [x ] __ [ ]\n")
    mapping = read_mapping(path)
    assert (mapping.nist, mapping.any_case) == (True, False)
    assert mapping.apply("a x a") == "a x b"


def test_duplicates_of_plain_files(tmp_path):
    path = tmp_path / "x.glm"
    path.write_text("a => b\na => b\nc => d\nc => e\n")
    with pytest.raises(DataError, match="line 4: 'c' is mapped a second time"):
        read_mapping(path)
    reading = Reading(strict=False)
    assert read_mapping(path, reading).words == {"a": "b", "c": "d"}
    assert reading.sentences() == [f"{path}: 1 rules for what an earlier line maps, left out"]


def test_with_a_score(tmp_path):
    (tmp_path / "x.glm").write_text(HEAD + "[uh-huh] => [%BCACK] / [ ] __ [ ]\n[mhm] => [%BCACK] / [ ] __ [ ]\n")
    (tmp_path / "ref.trn").write_text("Uh-huh yes (a-1)\n")
    (tmp_path / "hyp.trn").write_text("mhm yes (a-1)\n")
    options = Options(glm=tmp_path / "x.glm", replicates=1)
    done = evaluate(tmp_path / "ref.trn", {"x": tmp_path / "hyp.trn"}, options)
    assert done.json["systems"]["x"]["wer"]["errors"] == 0
