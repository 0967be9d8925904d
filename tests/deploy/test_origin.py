"""What is known of a model's teachers, from what their runs left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from seqkd.deploy.origin import Scored, TeacherOrigin, recipe_origin
from seqkd.errors import DataError
from seqkd.models.storage import model_hash
from tests.runs import settings

RATE = {"rate": 0.25, "errors": 1, "words": 4, "ci95": [0.0, 0.5]}
CALIBRATION = {"ece": 0.1, "nce": 0.2, "count": 4}


def make_run(run: Path, decoding: dict[str, object], config: dict[str, object], weights: bytes | None) -> None:
    """A finished, decoded and scored run, as other stages leave it."""
    (run / "decode_dev").mkdir(parents=True)
    summary = {"labelled_hours": 1.5, "unlabelled_hours": 0.5}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "config.yaml").write_text(yaml.safe_dump({"tokenizer": "units", **config}))
    if weights is not None:
        (run / "model").mkdir()
        (run / "model" / "model.safetensors").write_bytes(weights)
        decoding = {"model": model_hash(run / "model"), **decoding}
    (run / "decode_dev" / "decode.json").write_text(json.dumps(decoding))
    scored = {"wer": RATE, "cer": RATE, "calibration": {**CALIBRATION, "mce": 0.5}}
    (run / "decode_dev" / "score.json").write_text(json.dumps({"systems": {"x": scored}}))


@pytest.mark.parametrize("learned_from", [{"teacher": "h"}, {"book": {"teachers": ["h"]}}])
def test_a_student_of_our_own_teacher(tmp_path: Path, learned_from: dict[str, object]) -> None:
    exp = tmp_path / "exp"
    make_run(exp / "kd" / "seed0", {"beam": 8, "words": {"lm": ["x"], "lm_weight": 0.5}}, learned_from, b"student")
    make_run(exp / "teacher" / "seed0", {"beam": 8, "words": {"lexicon": ["x"]}}, {}, b"teacher")
    found = recipe_origin(settings(exp, tmp_path, "system=kd", "export.licence=MIT"), "units")
    assert found.scores == {"dev": Scored(8, True, RATE, RATE, CALIBRATION)}
    hashed = model_hash(exp / "teacher" / "seed0" / "model")
    assert found.teachers == (
        TeacherOrigin("teacher, seed0", hashed, {"dev": Scored(8, False, RATE, RATE, CALIBRATION)}),
    )
    assert (found.labelled, found.labelled_hours, found.unlabelled, found.licence) == (("train",), 1.5, (), "MIT")


def test_who_learns_alone_has_no_teacher(tmp_path: Path) -> None:
    make_run(tmp_path / "exp" / "student" / "seed0", {"beam": 1}, {"teacher": None}, b"student")
    assert recipe_origin(settings(tmp_path / "exp", tmp_path, "system=student"), "units").teachers == ()


def test_imported_teachers(tmp_path: Path) -> None:
    exp, mine = tmp_path / "exp", tmp_path / "mine"
    mine.mkdir()
    imported = {str(mine): "abc", "some/teacher": "def"}
    make_run(exp / "kd" / "seed0", {"beam": 1}, {"teacher": {"abc": 0.5, "def": 0.5}}, b"student")
    make_run(exp / "teacher" / "seed0", {"imported": imported}, {"imported": imported}, None)
    cfg = settings(exp, tmp_path, "system=kd", f"teacher.import_from=['{mine}','some/teacher']")
    (teacher,) = recipe_origin(cfg, "units").teachers
    assert (teacher.name, teacher.hash) == ("mine and some/teacher", "abc and def")  # and no path of this machine
    assert teacher.scores == {"dev": Scored(1, False, RATE, RATE, CALIBRATION)}


def test_a_teacher_trained_anew_since_it_was_scored(tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    make_run(exp / "kd" / "seed0", {"beam": 1}, {"teacher": "h"}, b"student")
    make_run(exp / "teacher" / "seed0", {"beam": 1}, {}, b"teacher")
    (exp / "teacher" / "seed0" / "model" / "model.safetensors").write_bytes(b"another")
    with pytest.raises(DataError, match=r"teacher/seed0/decode_dev was decoded with weights \w+, .*--stage decode"):
        recipe_origin(settings(exp, tmp_path, "system=kd"), "units")
