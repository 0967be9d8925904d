"""Damaged decodings of every kind: one sentence that names the file."""

import json

import numpy as np
import pytest

from seqkd.errors import DataError
from seqkd.translation.forced import read_forced
from tests.experiment.report_experiment import settings
from tests.translation.made_translations import Scores, make_decoding, make_references


@pytest.fixture
def decoding(tmp_path):
    references = make_references(tmp_path / "data", ["test"], sentences=4)["test"]
    make_decoding(tmp_path / "decode_test", references, 2.0)
    return tmp_path


def count(root):
    return Scores().count(settings(root, ["test"]), root, "test")


def change_line(number, **fields):
    def change(decoded):
        lines = (decoded / "hyp.jsonl").read_text().splitlines()
        lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **fields})
        (decoded / "hyp.jsonl").write_text("\n".join(lines) + "\n")

    return change


def add_line(**fields):
    def add(decoded):
        with (decoded / "hyp.jsonl").open("a") as file:
            file.write(json.dumps(fields) + "\n")

    return add


def write_text(name, text):
    return lambda decoded: (decoded / name).write_text(text)


def change_arrays(**changes):
    def change(decoded):
        with np.load(decoded / "forced.npz", allow_pickle=False) as stored:
            arrays = dict(stored)
        arrays |= {name: make(arrays) for name, make in changes.items()}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        np.savez(decoded / "forced.npz", **arrays)

    return change


def spoil(name, value):
    """Put a value where sentence test-0001 begins."""

    def make(arrays):
        array = arrays[name].copy()
        array[arrays["lengths"][0]] = value
        return array

    return change_arrays(**{name: make})


def truncate(decoded):
    content = (decoded / "hyp.jsonl").read_text().splitlines()
    (decoded / "hyp.jsonl").write_text("\n".join([*content[:2], content[2][:40]]) + "\n")


FAULTS = {
    "no decoding": (lambda decoded: (decoded / "hyp.jsonl").unlink(), "{hyp}: no such file."),
    "empty decoding": (write_text("hyp.jsonl", ""), "{hyp} holds no sentences; decode again."),
    "damaged line": (truncate, "{hyp}, line 3: not JSON (*); decode again."),
    "no object": (
        write_text("hyp.jsonl", "[1]\n"),
        "{hyp}, line 1: expected a JSON object with id, text, tokens and confidences.",
    ),
    "blank line": (write_text("hyp.jsonl", "\n"), "{hyp}, line 1: not JSON (*); decode again."),
    "no id": (change_line(2, id=None), "{hyp}, line 2: id is None; expected text that is not empty."),
    "id twice": (
        change_line(2, id="test-0000"),
        "{hyp}, line 2: sentence test-0000 was already given in line 1.",
    ),
    "other ids": (
        change_line(2, id="test-x"),
        "{hyp} against {ref}: 1 sentence is without a translation, such as test-0001; decode again.",
    ),
    "an id too many": (
        add_line(id="more", text="", tokens=[], confidences=[]),
        "{hyp} against {ref}: 1 sentence is without a reference, such as more; decode again.",
    ),
    "no text": (change_line(4, text=3), "{hyp}, line 4: text is 3; expected text."),
    "tokens in words": (change_line(1, tokens=["a"]), "{hyp}, line 1: tokens must be a list of whole numbers."),
    "fewer confidences": (
        change_line(2, tokens=[4, 5, 6], confidences=[0.5, 0.5]),
        "{hyp}, line 2: there are 3 tokens and 2 confidences; expected one each.",
    ),
    "no confidences": (
        change_line(2, tokens=[4], confidences=None),
        "{hyp}, line 2: there are 1 tokens and no confidences; expected one each.",
    ),
    "confidence that is no number": (
        change_line(3, tokens=[4], confidences=[float("nan")]),
        "{hyp}, line 3: a confidence is nan; expected a probability from 0 to 1.",
    ),
    "confidence above 1": (
        change_line(3, tokens=[4], confidences=[1.5]),
        "{hyp}, line 3: a confidence is 1.5; expected a probability from 0 to 1.",
    ),
    "no predictions": (
        lambda decoded: (decoded / "forced.npz").unlink(),
        "{npz}: no such file; decode again.",
    ),
    "no arrays": (
        write_text("forced.npz", "PK nonsense"),
        "{npz} is damaged or no file of NumPy arrays (*); decode again.",
    ),
    "an array less": (change_arrays(nll=lambda arrays: None), "{npz} lacks nll; decode again."),
    "pickled ids": (
        change_arrays(ids=lambda arrays: arrays["ids"].astype(object)),
        "{npz} is damaged or no file of NumPy arrays (Object arrays cannot be loaded when allow_pickle=False); "
        "decode again.",
    ),
    "lengths that do not add up": (
        change_arrays(lengths=lambda arrays: arrays["lengths"] + 1),
        "{npz}: confidence has shape (*,), but the lengths add up to * tokens.",
    ),
    "lengths in halves": (
        change_arrays(lengths=lambda arrays: arrays["lengths"] + 0.5),
        "{npz}: lengths must be whole numbers from 0; decode again.",
    ),
    "fewer lengths": (
        change_arrays(lengths=lambda arrays: arrays["lengths"][:-1]),
        "{npz}: there are 4 ids and 3 lengths; expected one each.",
    ),
    "fewer outcomes": (
        change_arrays(correct=lambda arrays: arrays["correct"][:-1]),
        "{npz}: correct has shape (*,), but the lengths add up to * tokens.",
    ),
    "sentence twice": (
        change_arrays(ids=lambda arrays: arrays["ids"][[0, 0, 2, 3]]),
        "{npz}: 1 of the 4 ids are there twice; expected every sentence once.",
    ),
    "predictions of other sentences": (
        change_arrays(ids=lambda arrays: np.array(["test-0000", "test-0001", "test-0002", "x"])),
        "{npz} against {ref}: sentence test-0003 is without predictions (1 such in all).",
    ),
    "prediction that is no number": (
        spoil("confidence", np.nan),
        "{npz}: confidence of sentence test-0001 holds nan (1 such in all); expected a finite number from 0 to 1: "
        "did training diverge?",
    ),
    "infinite likelihood": (
        spoil("nll", np.inf),
        "{npz}: nll of sentence test-0001 holds inf (1 such in all); expected a finite number from 0: did training "
        "diverge?",
    ),
    "Brier score above 2": (
        spoil("brier", 2.5),
        "{npz}: brier of sentence test-0001 holds 2.5 (1 such in all); expected a finite number from 0 to 2: did "
        "training diverge?",
    ),
    "another tokenizer": (
        change_arrays(
            lengths=lambda arrays: arrays["lengths"] + np.array([1, -1, 0, 0]),
        ),
        "{npz} against {ref}: there are * teacher-forced predictions for sentence test-0000, but its reference has * "
        "tokens and an end; decode again with the tokenizer and references of this scoring.",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_sentence(name, decoding):
    breaks, says = FAULTS[name]
    breaks(decoding / "decode_test")
    places = {
        "hyp": decoding / "decode_test" / "hyp.jsonl",
        "npz": decoding / "decode_test" / "forced.npz",
        "ref": decoding / "data" / "test" / "tgt",
    }
    with pytest.raises(DataError) as caught:
        count(decoding)
    said = str(caught.value)
    parts = says.format(**places).split("*")
    assert said.startswith(parts[0])
    assert said.endswith(parts[-1])
    assert len(parts) > 1 or said == parts[0]
    assert "\n" not in said


def test_nothing_wrong(decoding):
    assert len(count(decoding)) == 4
    assert read_forced(decoding / "decode_test" / "forced.npz").ids[0] == "test-0000"
