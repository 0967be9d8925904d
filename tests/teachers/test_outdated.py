"""What teachers gave counts no longer when the audio, the teacher or a rule has changed; what is not known stays."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file

from seqkd.data.features import FeatureSettings, finished_features, make_features
from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.layout import run_directory
from seqkd.tasks.asr import TASK
from seqkd.teachers import own
from seqkd.teachers.aligned import Sets
from seqkd.teachers.external.files import FileTeacher
from seqkd.teachers.external.opening import open_teacher
from seqkd.teachers.importing import import_teacher
from seqkd.teachers.making import entries_to_make, make
from seqkd.teachers.own import dev_losses
from seqkd.training.run import train
from tests.runs import settings
from tests.teachers.test_imported import configured, write_files


@pytest.fixture
def data(tones: Path, tmp_path: Path) -> Path:
    shutil.copytree(tones, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def exp(tone_exp: Path, tmp_path: Path) -> Path:
    shutil.copytree(tone_exp, tmp_path / "exp")
    return tmp_path / "exp"


def correct(data: Path, name: str) -> str:
    """Give the first utterance of a set the audio of the second, and make its features; which one it is."""
    first, second = read_data_dir(data / name)[:2]
    shutil.copy(second.audio, first.audio)
    make_features(data / name, FeatureSettings(**finished_features(data / name)["settings"]), nj=1)
    return first.id


KINDS = {"frames": ["book=dense", "book.seeds=2"], "transcripts": ["book=sequence", "book.hypotheses=2"]}


@pytest.mark.parametrize("kind", KINDS)
def test_audio_without_labels_has_changed(exp: Path, data: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The teacher, which never saw it, stays the same."""
    cfg = settings(exp, data, "system=kd_unlabelled", "student.training.updates=2", *KINDS[kind])
    make(cfg, [cfg])
    assert entries_to_make(cfg, [cfg]) == 0
    changed = correct(data, "extra")
    place = exp / "book" / {"frames": "masked_unlabelled", "transcripts": "transcripts"}[kind]
    what = f"the book {place}" if kind == "frames" else str(place)
    sentence = (
        f"the audio or text of utterance '{changed}' has changed since {what} was written; to make it anew "
        "run ./run.sh --stage book"
    )
    for use in (train, lambda _, cfg: make(cfg, [cfg])):  # a student, and a shard that is started by hand
        with pytest.raises(ConfigError) as caught:
            use(TASK, cfg)
        assert str(caught.value) == sentence
    caplog.set_level(logging.INFO, "seqkd")
    assert entries_to_make(cfg, [cfg]) == 36 * (2 if kind == "frames" else 1)
    assert f"{sentence}: {place} is kept as {place}.1" in caplog.text
    make(cfg, [cfg])
    assert entries_to_make(cfg, [cfg]) == 0
    train(TASK, cfg)


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_earlier_version_wrote_stays(exp: Path, data: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = settings(exp, data, "system=kd_unlabelled", "student.training.updates=2", *KINDS[kind])
    with monkeypatch.context() as patched:
        patched.setattr(Sets, "contents", lambda *_, **__: {})
        make(cfg, [cfg])
    correct(data, "extra")
    assert entries_to_make(cfg, [cfg]) == 0
    train(TASK, cfg)


def test_transcripts_that_are_mixed_in_belong_to_the_content(exp: Path, data: Path) -> None:
    cfg = settings(exp, data, "system=kd", "book=dense", "book.seeds=1")
    mixed = settings(exp, data, "system=kd", "book=dense", "book.seeds=1", "book.regularisation=0.1",
                     f"book.directory={exp}/mixed")  # fmt: skip
    for one in (cfg, mixed):
        make(one, [one])
        assert entries_to_make(one, [one]) == 0
    train(TASK, mixed)
    text = data / "train" / "text"
    lines = text.read_text().splitlines()
    lines[0] = f"{lines[0].split()[0]} {lines[1].split()[1]} {lines[1].split()[1]}"
    text.write_text("\n".join(lines) + "\n")
    make_features(data / "train", FeatureSettings(**finished_features(data / "train")["settings"]), nj=1)
    assert entries_to_make(cfg, [cfg]) == 0  # the teacher was given audio alone
    assert entries_to_make(mixed, [mixed]) == 24


# ---- teachers in files


@pytest.fixture
def files(tones: Path, tmp_path: Path) -> Path:
    write_files(tmp_path / "theirs", tones, ["<blank>", "▁", "d", "o", "r", "e"], spoken=["d", "o"])
    return tmp_path / "theirs"


def change_numbers(directory: Path) -> None:
    """The same names, shapes and types; other probabilities."""
    path = directory / "00000.safetensors"
    save_file({name: value.flip(0).contiguous() for name, value in load_file(path).items()}, path)


def test_the_hash_of_files_covers_their_content(files: Path) -> None:
    before = open_teacher(files)
    assert isinstance(before, FileTeacher)
    change_numbers(files)
    after = open_teacher(files)
    assert after.hash != before.hash
    assert after.earlier_hash == before.earlier_hash
    change_numbers(files)
    assert open_teacher(files).hash == before.hash


@pytest.mark.parametrize("form", ["dense", "sequence"])
def test_other_numbers_in_files_make_a_book_anew(files: Path, tones: Path, tmp_path: Path, form: str) -> None:
    cfg = configured(tmp_path / "exp", tones, files, f"book={form}")
    make(cfg, [cfg])
    assert entries_to_make(cfg, [cfg]) == 0
    change_numbers(files)
    assert entries_to_make(cfg, [cfg]) == 24


@pytest.mark.parametrize("form", ["dense", "sequence"])
def test_a_book_by_the_earlier_hash_of_files_stays_and_is_carried_on(
    files: Path, tones: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = configured(tmp_path / "exp", tones, files, f"book={form}")
    with monkeypatch.context() as patched:
        as_earlier(patched)
        make(cfg, [cfg], shard=0, shards=2)
        stated = manifests(tmp_path / "exp" / "book")
    assert entries_to_make(cfg, [cfg]) == 12
    make(cfg, [cfg])
    assert entries_to_make(cfg, [cfg]) == 0
    assert manifests(tmp_path / "exp" / "book") == stated
    train(TASK, cfg)


def manifests(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("manifest.json")}


def as_earlier(patched: pytest.MonkeyPatch) -> None:
    """Let teachers in files have the hash that they had before hashes covered their content."""
    init = FileTeacher.__init__

    def earlier(self: FileTeacher, *args: object) -> None:
        init(self, *args)
        self.hash = self.earlier_hash

    patched.setattr(FileTeacher, "__init__", earlier)


# ---- the rule for frame rates, and the beam


def test_another_rule_for_frame_rates_makes_a_book_anew(
    files: Path, tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, other = (configured(tmp_path / "exp", tones, files, f"teacher.rate_rule={rule}") for rule in ("spike", "mean"))
    make(cfg, [cfg])
    run = train(TASK, cfg)
    before = yaml.safe_load((run / "config.yaml").read_text())["book"]
    with pytest.raises(ConfigError, match=r"has rule for frame rates spike and the student mean; set teacher\.rate_ru"):
        train(TASK, configured(tmp_path / "exp", tones, files, "teacher.rate_rule=mean", "seed=1"))
    assert entries_to_make(cfg, [cfg]) == 0
    assert entries_to_make(other, [other]) == 24
    make(other, [other])
    train(TASK, other)
    assert yaml.safe_load((run / "config.yaml").read_text())["book"] != before


def test_a_book_of_an_earlier_version_does_not_state_the_rule(exp: Path, tones: Path) -> None:
    cfg = settings(exp, tones, "system=kd", "book=dense", "book.seeds=1")
    make(cfg, [cfg])
    assert "rate_rule" not in json.loads((exp / "book" / "masked" / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("form", "change"),
    [("dense", "teacher.rate_rule=mean"), ("sequence", "book.beam=2")],
    ids=["frames", "transcripts"],
)
def test_how_imported_teachers_are_read_decides_what_they_give(
    files: Path, tones: Path, tmp_path: Path, form: str, change: str
) -> None:
    cfg = configured(tmp_path / "exp", tones, files, f"book={form}")
    other = configured(tmp_path / "exp", tones, files, f"book={form}", change)
    run = run_directory(cfg, "teacher", 0)

    def made(cfg: DictConfig) -> tuple[int, int]:
        import_teacher(cfg)
        TASK.decode(cfg, run, "dev")
        return (run / "summary.json").stat().st_ino, (run / "decode_dev" / "decode.json").stat().st_ino

    first = made(cfg)
    assert made(cfg) == first
    # As earlier versions left it: less is stated, and the hash covers less.
    config, stamp = run / "config.yaml", run / "decode_dev" / "decode.json"
    (key,) = yaml.safe_load(config.read_text())["imported"]
    teacher = FileTeacher(files, json.loads((files / "teacher.json").read_text()))
    for path, read, write in ((config, yaml.safe_load, yaml.safe_dump), (stamp, json.loads, json.dumps)):
        stated = read(path.read_text())
        assert {"rate_rule", "beam"} & stated.keys() and stated["imported"] == {key: teacher.hash}
        left = {name: value for name, value in stated.items() if name not in ("rate_rule", "beam")}
        path.write_text(write({**left, "imported": {key: teacher.earlier_hash}}))
    assert made(cfg) == made(other) == first
    stated = {"rate_rule": "spike"} if form == "dense" else {"beam": 8}
    for path, read, write in ((config, yaml.safe_load, yaml.safe_dump), (stamp, json.loads, json.dumps)):
        left = {name: value for name, value in read(path.read_text()).items() if name not in ("rate_rule", "beam")}
        path.write_text(write(left | stated))
    assert made(cfg) == first
    assert all(one != before for one, before in zip(made(other), first, strict=True))


def test_weights_of_imported_teachers_decide_what_they_give(files: Path, tones: Path, tmp_path: Path) -> None:
    shutil.copytree(files, tmp_path / "others")
    change_numbers(tmp_path / "others")
    both, stamps = f"[{files},{tmp_path}/others]", []
    for weights in ("[1,1]", "[1,3]"):
        cfg = configured(tmp_path / "exp", tones, both, "book=dense", f"teacher.weights={weights}")
        TASK.decode(cfg, run_directory(cfg, "teacher", 0), "dev")
        stamps.append((tmp_path / "exp" / "teacher" / "seed0" / "decode_dev" / "decode.json").read_text())
    assert json.loads(stamps[0])["weights"] == [0.5, 0.5] and json.loads(stamps[1])["weights"] == [0.25, 0.75]


# ---- weights by dev


def test_weights_by_dev_are_measured_anew_when_dev_changes(
    exp: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = settings(exp, data, "teacher.weights=dev")
    kept = exp / "teacher" / "dev_loss.json"
    before = dev_losses(cfg)
    with monkeypatch.context() as patched:
        patched.setattr(own, "dev_loss", None)  # nothing is measured
        assert dev_losses(cfg) == before
    correct(data, "dev")
    after = dev_losses(cfg)
    assert after != before
    (key,) = known = json.loads(kept.read_text())
    assert known[key]["loss"] == after[0]
    kept.write_text("{")
    assert dev_losses(cfg) == after and json.loads(kept.read_text()) == known
    # What an earlier version kept stays.
    kept.write_text(json.dumps({key: 1.5}))
    assert dev_losses(cfg) == [1.5]


def test_weights_by_dev_are_measured_anew_when_a_teacher_in_files_changes(
    files: Path, tones: Path, tmp_path: Path
) -> None:
    cfg = configured(tmp_path / "exp", tones, f"[{files}]", "teacher.weights=dev")
    (teacher,) = own.aligned_teachers(cfg, Tokenizer.load(tmp_path / "exp" / "tokens"))
    before = dev_losses(cfg, {teacher.name: teacher.hash})
    assert dev_losses(cfg) == before  # which does not open it
    change_numbers(files)
    (teacher,) = own.aligned_teachers(cfg, Tokenizer.load(tmp_path / "exp" / "tokens"))
    assert dev_losses(cfg, {teacher.name: teacher.hash}) != before


def test_an_imported_teacher_in_files_that_changed_is_weighted_anew(files: Path, tones: Path, tmp_path: Path) -> None:
    shutil.copytree(files, tmp_path / "others")
    cfg = configured(tmp_path / "exp", tones, f"[{files},{tmp_path}/others]", "book=dense", "teacher.weights=dev")
    stated = []
    for _ in range(2):
        run = import_teacher(cfg)
        stated.append(yaml.safe_load((run / "config.yaml").read_text())["weights"])
        change_numbers(tmp_path / "others")
    assert stated[0] == [0.5, 0.5] and stated[1] != stated[0]
