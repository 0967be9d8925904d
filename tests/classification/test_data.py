"""Sets of clips: what a table may hold, and a sentence about everything else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from seqkd.classification.data import (
    ClipSet,
    check_parts,
    check_support,
    frame_numbers,
    numbers_of,
    phones_of,
    read_classes,
    read_set,
)
from seqkd.errors import ConfigError, DataError
from seqkd.tasks.classification import TASK
from seqkd.tasks.classification.work import ClipData, check_folds
from tests.clip_corpus import make_corpus, settings, write_classes, write_tables

GOOD = {
    "wav.scp": {"c1": "one.wav", "c2": "/far/two.wav"},
    "label": {"c1": "yes", "c2": "no"},
}
CTM = "c1 1 0.1 0.2 a\nc1 1 0.3 0.1 b\nc2 1 0.0 0.5 a 0.9\n"


def sentence(function, *arguments, kind=DataError) -> str:
    """What is said of bad input: one line."""
    with pytest.raises(kind) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def made(directory: Path, tables: Mapping[str, Mapping[str, str]] = GOOD, ctm: str | None = None) -> Path:
    write_tables(directory, tables)
    if ctm is not None:
        (directory / "phones.ctm").write_text(ctm)
    return directory


def a_set(name: str, labels: list[str], groups: list[str] | None = None, paths: list[str] | None = None) -> ClipSet:
    ids = tuple(f"{name}{number}" for number in range(len(labels)))
    groups = tuple(groups or ids)
    paths = tuple(Path(path) for path in paths or [f"{key}.wav" for key in ids])
    return ClipSet(Path(name), ids, paths, tuple(labels), groups, None, {}, False)


def test_a_set_is_what_its_tables_hold(tmp_path: Path) -> None:
    tables = GOOD | {"group": {"c1": "anna", "c2": "bert"}, "fold": {"c1": "0", "c2": "12"}}
    clips = read_set(made(tmp_path, tables, CTM))
    assert clips.ids == ("c1", "c2") and len(clips) == 2
    assert clips.paths == (tmp_path / "one.wav", Path("/far/two.wav"))
    assert (clips.labels, clips.groups, clips.folds) == (("yes", "no"), ("anna", "bert"), (0, 12))
    assert [(p.start, p.end, p.name) for p in clips.phones["c1"]] == [(0.1, pytest.approx(0.3), "a"), (0.3, 0.4, "b")]
    assert not clips.images


def test_what_is_optional_has_defaults(tmp_path: Path) -> None:
    clips = read_set(made(tmp_path, {"image.scp": GOOD["wav.scp"], "label": GOOD["label"]}))
    assert clips.images and clips.groups == clips.ids and clips.folds is None and clips.phones == {}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"label": GOOD["label"]}, " has no wav.scp and no image.scp; "),
        (GOOD | {"image.scp": GOOD["wav.scp"]}, " has a wav.scp and an image.scp; expected one of them: sounds, or "),
        ({"wav.scp": GOOD["wav.scp"]}, "/label cannot be read: No such file or directory."),
        (GOOD | {"label": {"c1": "yes"}}, ": 'c2' is in wav.scp only; expected the same ids in wav.scp and label"),
        (GOOD | {"group": {**GOOD["label"], "c3": "x"}}, ": 'c3' is in group only; expected the same ids in wav.scp a"),
        (GOOD | {"fold": {"c1": "0"}}, ": 'c2' is in wav.scp only; expected the same ids in wav.scp and fold"),
        (GOOD | {"label": {"c1": "yes sir", "c2": "no"}}, "/label: 'c1' has the class 'yes sir'; expected one word"),
        (GOOD | {"fold": {"c1": "0", "c2": "-1"}}, "/fold: 'c2' has '-1'; expected a whole number from 0"),
        (GOOD | {"fold": {"c1": "0.5", "c2": "1"}}, "/fold: 'c1' has '0.5'; expected a whole number from 0"),
    ],
)
def test_a_wrong_set_is_one_sentence(tables: dict[str, dict[str, str]], said: str, tmp_path: Path) -> None:
    assert sentence(read_set, made(tmp_path, tables)).startswith(f"{tmp_path}{said}")


@pytest.mark.parametrize(
    ("ctm", "said"),
    [
        (CTM + "c2 1 0.5\n", ", line 4: 'c2 1 0.5'; expected '<id> 1 <start s> <duration s> <phone>', times from 0"),
        (CTM + "c2 1 soon 0.1 a\n", ", line 4: 'c2 1 soon 0.1 a'; expected '<id> 1 "),
        (CTM + "c2 1 -0.1 0.1 a\n", ", line 4: 'c2 1 -0.1 0.1 a'; expected '<id> 1 "),
        (CTM + "c2 1 0.1 nan a\n", ", line 4: 'c2 1 0.1 nan a'; expected '<id> 1 "),
        (CTM + "\n", ", line 4: ''; expected '<id> 1 "),
        (CTM + "c3 1 0 1 a\n", ", line 4: there is no clip 'c3' in this set"),
        ("c1 1 0 1 a\n", " has no phone of 1 clips, such as 'c2'"),
    ],
)
def test_a_wrong_line_of_phones_is_one_sentence(ctm: str, said: str, tmp_path: Path) -> None:
    assert sentence(read_set, made(tmp_path, ctm=ctm)).startswith(f"{tmp_path / 'phones.ctm'}{said}")


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    made(tmp_path, ctm="")
    (tmp_path / "phones.ctm").write_bytes(b"c1 1 0 1 \xff\n")
    assert "phones.ctm, line 1: byte 10 (0xff) is not valid UTF-8" in sentence(read_set, tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["yes"], " has 1 classes; expected at least 2"),
        (["yes", "no", "yes"], " has the class 'yes' twice"),
        (["yes", "no", "Yes"], " has classes that differ in case alone: 'yes'; give one of them another name"),
        (["yes", "no sir"], ", line 2: 'no sir'; expected the name of a class, one word"),
        (["yes", "", "no"], ", line 2: ''; expected the name of a class, one word"),
    ],
)
def test_wrong_names_of_classes_are_one_sentence(names: list[str], said: str, tmp_path: Path) -> None:
    write_classes(tmp_path, names)
    assert sentence(read_classes, tmp_path) == f"{tmp_path / 'classes.txt'}{said}"


def test_classes_are_in_the_order_of_their_file(tmp_path: Path) -> None:
    assert sentence(read_classes, tmp_path).startswith(f"{tmp_path / 'classes.txt'} is missing; ")
    write_classes(tmp_path, ["up", "down", "left"])
    assert read_classes(tmp_path) == ("up", "down", "left")
    assert numbers_of(a_set("dev", ["left", "up", "left"]), read_classes(tmp_path)).tolist() == [2, 0, 2]


def test_a_class_that_is_not_known_is_named() -> None:
    said = sentence(numbers_of, a_set("dev", ["a", "q"]), list("abcdefghij"))
    assert said.startswith("dev/label: 'dev1' is of class 'q', which classes.txt does not name; ")
    assert said.endswith("; the classes are a, b, c, d, e, f, g, h, ...")


def test_a_class_needs_two_clips_to_learn_from() -> None:
    check_support(a_set("train", ["a", "a", "b", "b"]), "ab")
    said = sentence(check_support, a_set("train", ["a", "a", "b"]), "ab")
    assert said.startswith("train: class 'b' has 1 clip; expected at least 2. Add clips, or leave the class out")
    said = sentence(check_support, a_set("train", ["a", "a", "b", "b"]), "abc")
    assert said.startswith("train: class 'c' has no clip; expected at least 2")


def test_a_group_or_a_file_is_in_one_part() -> None:
    train, dev = a_set("train", ["a"] * 2, ["anna", "bert"]), a_set("dev", ["a"], ["carl"])
    check_parts(train, dev, [a_set("test", ["a"] * 2, ["dora", "dora"]), a_set("noisy", ["a"], ["dora"])])
    said = sentence(check_parts, train, a_set("dev", ["a"], ["bert"]), [])
    assert said.startswith("group 'bert' is in train: 'train1' and in dev: 'dev0', so that what is learned")
    said = sentence(check_parts, train, dev, [a_set("test", ["a"], None, ["train0.wav"])])
    assert said.startswith("file 'train0.wav' is in train: 'train0' and in test: 'test0', so that what is learned")


def test_each_frame_has_the_phone_of_its_middle(tmp_path: Path) -> None:
    """Frames of 0.1 s: middles at 0.05, 0.15, ...; a phone begins at its start and ends before its end."""
    clips = read_set(made(tmp_path, ctm="c1 1 0.10 0.15 a\nc1 1 0.25 0.20 b\nc2 1 0.05 0.05 b\nc2 1 0.30 9.0 a\n"))
    phones = phones_of(clips)
    assert phones == ("a", "b", "sil")
    numbers = frame_numbers(clips, phones, 6, 0.1)
    assert numbers.dtype == np.int64
    assert ["".join(phones[n][0] for n in row) for row in numbers] == ["sabbss", "bssaaa"]


def test_a_phone_that_training_lacks_is_named(tmp_path: Path) -> None:
    clips = read_set(made(tmp_path, ctm=CTM))
    said = sentence(frame_numbers, clips, ("a", "sil"), 4, 0.1)
    assert said == f"{tmp_path}: 'c1' has the phone 'b', which no training clip has"
    assert "has no phones.ctm, and target=frame needs the phone of each frame" in sentence(phones_of, a_set("t", ["a"]))


# ---- of a recipe


def test_preparing_checks_every_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_corpus(tmp_path, {"train": 3, "dev": 2, "test": 2})
    cfg = settings(tmp_path / "exp", data)
    TASK.prepare(cfg)
    assert capsys.readouterr().out.splitlines()[0] == "train: 9 clips in 3 groups, 9 labels"
    rows = (data / "dev" / "group").read_text()
    (data / "dev" / "group").write_text(rows.replace("dev-speaker0", "train-speaker1"))
    assert "group 'train-speaker1' is in train: " in sentence(TASK.prepare, cfg)
    (data / "dev" / "group").write_text(rows)
    (data / "classes.txt").write_text("low\nhigh\nrising\nfalling\n")
    assert "class 'falling' has no clip" in sentence(TASK.prepare, cfg)


def test_frames_have_classes_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the clips' classes are: of those one clip is enough."""
    data = make_corpus(tmp_path, {"train": 1, "dev": 1, "test": 1})
    strides = [f"{role}.model.strides=[1,1,1,1]" for role in ("teacher", "student")]
    cfg = settings(tmp_path / "exp", data, "classes.target=frame", *strides)
    TASK.prepare(cfg)
    found = ClipData(cfg)
    assert found.names == ("a", "e", "i", "o", "sil")
    targets, lengths = found.targets("train"), found.features("train").lengths
    assert targets.shape == (3, int(lengths.max()))
    assert ((targets >= 0).sum(1) == lengths.numpy()).all()
    assert {found.names[n] for n in targets[1][targets[1] >= 0]} <= {"a", "e", "sil"}  # "low"


def test_folds_are_of_the_training_set(clips_data: Path) -> None:
    cfg = settings(clips_data, clips_data, "folds=4", "sets.test=[train]")
    train = read_set(clips_data / "train")
    check_folds(cfg, train)
    cfg = settings(clips_data, clips_data, "folds=5", "sets.test=[train]")
    said = sentence(check_folds, cfg, train)
    assert said == (
        f"{clips_data / 'train'} has folds [0, 1, 2, 3]; expected clips in each of 0 to 4, in the file 'fold'"
    )
    assert "has folds []; " in sentence(check_folds, cfg, a_set("train", ["a"]))
    said = sentence(settings, clips_data, clips_data, "folds=2", kind=ConfigError)
    assert said == "setting folds is 2; expected 0, or at least 3: to train, for dev, and for tests"


def test_a_subset_without_clips_is_one_sentence(tmp_path: Path) -> None:
    data = make_corpus(tmp_path, {"train": 2, "dev": 2, "test": 2})
    keep = {"wav.scp", "label", "group", "fold"}
    for name in keep:
        rows = (data / "test" / name).read_text().splitlines(keepends=True)
        (data / "test" / name).write_text("".join(row for row in rows if row.startswith("low")))
    (data / "test" / "phones.ctm").unlink()
    cfg = settings(tmp_path / "exp", data, "classes.subset=[high,rising]")
    TASK.prepare(cfg)
    said = sentence(ClipData(cfg).tested, "test")
    assert said == f"{data / 'test'} has no clip of the classes of classes.subset"
    assert len(ClipData(cfg).tested("dev")) == 4
