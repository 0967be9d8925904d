"""The best of n-best lists is scored as the hypotheses are."""

import json

import pytest

from seqkd.errors import DataError
from seqkd.scoring import write_text
from seqkd.scoring.evaluate import Options, evaluate

REFERENCES = {"a-1": "the fi- swims", "a-2": "yes", "a-3": "no"}


def oracle(folder, hyps, **options):
    write_text(folder / "ref", REFERENCES)
    done = evaluate(folder / "ref", {"x": folder / hyps}, Options(replicates=1, **options))
    return done.json["systems"]["x"]


def lines(folder, **lists):
    """Write hypotheses with lists, or with None for an utterance without one."""
    entries = [
        {"id": key.replace("_", "-"), "text": texts[0]} | ({"nbest": texts} if len(texts) > 1 else {})
        for key, texts in lists.items()
    ]
    (folder / "x.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return "x.jsonl"


def test_fragments_and_alternatives_count_in_lists_too(tmp_path):
    write_text(tmp_path / "x", {"a-1": "the fish swims", "a-2": "yes", "a-3": "no"})
    lists = {"a-1-1": "fish", "a-1-2": "the fish swims", "a-2-1": "{ yeah / yes }", "a-3-1": "no"}
    write_text(tmp_path / "nbest", lists)
    system = oracle(
        tmp_path, "x", nbest={"x": tmp_path / "nbest"}, fragments=True, markup="alternatives", formats={"": "text"}
    )
    assert (system["wer"]["errors"], system["oracle"]["errors"]) == (0, 0)


def test_an_utterance_without_a_list_has_its_hypothesis(tmp_path):
    name = lines(tmp_path, a_1=["fi-", "the fi- swims"], a_2=["yes"])
    system = oracle(tmp_path, name, missing="all")
    assert (system["wer"]["errors"], system["oracle"]["errors"]) == (3, 1)  # a-3 has neither: its word is deleted
    assert oracle(tmp_path, name, missing="present")["oracle"]["words"] == 4


def test_lists_that_were_asked_for_must_be_complete(tmp_path):
    name = lines(tmp_path, a_1=["the fi- swims"], a_2=["yes"])
    write_text(tmp_path / "nbest", {"a-1-1": "the fi- swims"})
    with pytest.raises(DataError, match="Utterance a-2 has no n-best list"):
        oracle(tmp_path, name, missing="all", nbest={"x": tmp_path / "nbest"})
    write_text(tmp_path / "nbest", {"a-1-1": "the fi- swims", "a-2-1": "yes"})
    assert oracle(tmp_path, name, missing="all", nbest={"x": tmp_path / "nbest"})["oracle"]["errors"] == 1
