"""Tables with times, and corpora in the layouts in which they are handed out."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.own.audio import make_corpus
from seqkd.data.kaldi import Utterance, read_data_dir
from seqkd.errors import DataError

RATE = 8000
LONG = np.linspace(0, 0.9, 30 * RATE)  # a ramp: what was cut out can be told


def read(data: Path) -> dict[str, Utterance]:
    sets = (read_data_dir(data / name) for name in ("train", "dev", "test"))
    return {u.id: u for found in sets for u in found}


def sound(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(RATE // 2), RATE)
    return path


def imported(data: Path, train: Path, **settings: object) -> dict[str, Utterance]:
    make_corpus(data, nj=1, train=train, sample_rate=RATE, **settings)
    return read(data)


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    soundfile.write(path.parent / "long.wav", LONG, RATE)
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


FORMS = {
    "offset and duration": lambda n: {"offset": n, "duration": 0.5},
    "start and end": lambda n: {"start": n, "end": n + 0.5},
    "start_time and end_time": lambda n: {"start_time": n, "end_time": n + 0.5},
}


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.json"])
@pytest.mark.parametrize("form", FORMS)
def test_times_of_a_table_are_honoured(form: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = "audio_filepath" if name == "t.json" else "path"
    rows = [{path: "long.wav", "text": "ab", **FORMS[form](n)} for n in range(28)]
    found = imported(tmp_path / "data", table(tmp_path / name, rows))
    assert len(found) == 28
    for u in found.values():
        samples, rate = soundfile.read(u.audio)
        n = int(u.id.split("-")[1]) // 100
        assert (rate, len(samples)) == (RATE, RATE // 2)
        assert samples[0] == pytest.approx(LONG[n * RATE], abs=1e-3)
    hours = [
        float(line.partition(" h;")[0].split()[-1]) for line in capsys.readouterr().err.splitlines() if " h;" in line
    ]
    assert sum(hours) == pytest.approx(28 * 0.5 / 3600, abs=0.02)


def test_the_duration_of_a_whole_file_makes_no_copy(tmp_path: Path) -> None:
    """As in NeMo's manifests, which always give it."""
    rows = [{"audio_filepath": str(sound(tmp_path / f"{n}.wav", n)), "text": "ab", "duration": 0.5} for n in range(30)]
    found = imported(tmp_path / "data", table(tmp_path / "manifest.json", rows))
    assert len(found) == 30 and not (tmp_path / "data" / "audio").exists()


def test_an_overshoot_of_milliseconds_is_cut_with_a_count(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [{"path": "long.wav", "text": "ab", "start": n, "end": n + 0.5} for n in range(28)]
    rows.append({"path": "long.wav", "text": "ab", "start": 29.0, "end": 30.015})
    found = imported(tmp_path / "data", table(tmp_path / "t.jsonl", rows))
    assert soundfile.info(found["long-0002900-0003002"].audio).frames == RATE
    assert "1 utterances end after their files do, by 0.015 s at most; cut there" in capsys.readouterr().err


BAD = {
    "past the end": ({"start": 1, "end": 900}, "lies from 1 to 900 s, but .*long.wav lasts 30.00 s; expected seconds"),
    "begins past the end": ({"start": 31, "end": 32}, "lies from 31 to 32 s, but .*long.wav lasts 30.00 s"),
    "ends first": ({"start": 3, "end": 2}, "line 1: the utterance begins at 3 s and ends at 2 s; expected an end"),
    "no number": ({"start": "x", "end": 2}, "line 1: start is 'x'; expected seconds from 0 on, such as 12.5."),
    "negative": ({"offset": -1, "duration": 2}, "line 1: offset is '-1'; expected seconds from 0 on, such as 12.5."),
    "end and duration": ({"end": 3, "duration": 2}, "columns end and duration, but none where utterances begin"),
}


@pytest.mark.parametrize("name", BAD)
def test_times_that_cannot_be(name: str, tmp_path: Path) -> None:
    times, says = BAD[name]
    rows = [{"path": "long.wav", "text": "ab", **times}]
    with pytest.raises(DataError, match=says):
        imported(tmp_path / "data", table(tmp_path / "t.jsonl", rows))
    assert not [file for file in (tmp_path / "data").glob("*") if file.name != ".looks.json"]


def test_the_same_part_twice(tmp_path: Path) -> None:
    rows = [{"path": "long.wav", "text": "ab", "start": 1, "end": 2}] * 2
    with pytest.raises(
        DataError, match=r"line 2: 'long.wav' is there already, on line 1, with these times; remove one"
    ):
        imported(tmp_path / "data", table(tmp_path / "t.jsonl", rows))


# ---- layouts


def librispeech(root: Path) -> Path:
    parts = (("train-clean-100", 3), ("dev-clean", 1), ("test-clean", 1), ("test-other", 1))
    for index, (part, speakers) in enumerate(parts):
        for s in range(speakers):
            speaker = f"{index}{s}"
            folder = root / part / speaker / "7"
            for n in range(2):
                sound(folder / f"{speaker}-7-{n:04d}.flac", 10 * index + 2 * s + n)
            (folder / f"{speaker}-7.trans.txt").write_text("".join(f"{speaker}-7-{n:04d} AB BA\n" for n in range(2)))
    return root


def aishell(root: Path) -> Path:
    lines = []
    for seed, (part, speaker) in enumerate((("train", "S1"), ("train", "S2"), ("dev", "S3"), ("test", "S4"))):
        for n in range(2):
            sound(root / "wav" / part / speaker / f"BAC{speaker}W{n}.wav", 10 * seed + n)
            lines.append(
                f"BAC{speaker}W{n} 而 对 楼市 {'成' * seed}\n"
                if part == "test"
                else f"BAC{speaker}W{n} 而 对 楼市 成 {n}\n"
            )
    (root / "transcript").mkdir()
    (root / "transcript" / "aishell_transcript_v0.8.txt").write_text("".join(lines), encoding="utf-8")
    sound(root / "wav" / "train" / "S1" / "BACS1W9.wav", 99)  # some have no transcript
    return root


def ljspeech(root: Path) -> Path:
    lines = []
    for n in range(40):
        sound(root / "wavs" / f"LJ001-{n:04d}.wav", n)
        lines.append(f'LJ001-{n:04d}|In 1{n}, "x"|in one {"ab " * n}\n')
    (root / "metadata.csv").write_text("".join(lines))
    return root


def common_voice(root: Path) -> Path:
    for number, part in enumerate(("train", "dev", "test")):
        rows = ["client_id\tpath\tsentence\tup_votes"]
        for n in range(3):
            sound(root / "clips" / f"{part}{n}.wav", 10 * number + n)
            rows.append(f'{part}{n}\t{part}{n}.wav\t"ab {"ab" * number} {"b" * n}"\t2')
        (root / f"{part}.tsv").write_text("\n".join(rows) + "\n")
    return root


def cuts(root: Path) -> Path:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    soundfile.write(root / "long.wav", LONG, RATE)
    recording = Recording.from_file(root / "long.wav")
    made = [
        MonoCut(
            f"c{n}", float(n), 1.0, 0, recording=recording,
            supervisions=[SupervisionSegment(f"s{n}", "long", 0.25, 0.5, text="ab", speaker=f"p{n % 9}")],
        )
        for n in range(28)
    ]  # fmt: skip
    CutSet.from_cuts(made).to_file(root / "cuts.jsonl.gz")
    return root / "cuts.jsonl.gz"


def tar(root: Path) -> Path:
    with tarfile.open(root / "shard-000.tar.gz", "w:gz") as archive:
        for n in range(40):
            archive.add(sound(root / "in" / f"{n:03d}.flac", n), f"{n:03d}.flac")
            about = root / "in" / f"{n:03d}.json"
            about.write_text(json.dumps({"text": f"ab {'b' * n}", "speaker": f"s{n % 7}"}))
            archive.add(about, about.name)
    shutil.rmtree(root / "in")
    return root / "shard-000.tar.gz"


LAYOUTS = {
    "LibriSpeech": (librispeech, {"train": 6, "dev": 2, "test": 4}),
    "AISHELL": (aishell, {"train": 4, "dev": 2, "test": 2}),
    "LJSpeech": (ljspeech, {"all": 40}),
    "Common Voice": (common_voice, {"train": 3, "dev": 3, "test": 3}),
    "lhotse cuts": (cuts, {"all": 28}),
    "tar archives": (tar, {"all": 40}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_known_by_sight(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make, counts = LAYOUTS[layout]
    found = imported(tmp_path / "data", make(tmp_path), allow_overlap=True)
    assert f"is read as: {layout}" in capsys.readouterr().err
    origin = json.loads((tmp_path / "data" / "origin.json").read_text())
    if "all" in counts:
        assert len(found) == counts["all"]
    else:
        assert origin["utterances"] == counts
    if layout == "LJSpeech":
        assert found["LJ001-0003"].text == "in one ab ab ab"
    if layout == "lhotse cuts":
        (one,) = (u for u in found.values() if u.id.endswith("c7"))
        samples, _ = soundfile.read(one.audio)
        assert len(samples) == RATE // 2 and samples[0] == pytest.approx(LONG[round(7.25 * RATE)], abs=1e-3)
        assert one.speaker == "p7"


@pytest.mark.parametrize("name", ["dev", "test"])
def test_a_set_that_a_folder_lacks_is_not_its_train(name: str, tmp_path: Path) -> None:
    """Nor is any other of its sets: dev would be of what train is, perhaps."""
    other = aishell(tmp_path / "other")
    for split in ("dev", "test"):
        shutil.rmtree(other / "wav" / split)
    mine = ljspeech(tmp_path / "mine")
    with pytest.raises(
        DataError,
        match=rf"other \(corpus\.{name}\) has no {name}; it has train: name one of its folders, or a share to be split",
    ):
        imported(tmp_path / "data", mine, **{name: other})
    assert not (tmp_path / "data").exists()


def test_the_train_set_of_a_folder_is_taken_for_unlabelled_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    settings = {"unlabelled": librispeech(tmp_path / "other"), "allow_overlap": True}
    imported(tmp_path / "data", ljspeech(tmp_path / "mine"), **settings)
    assert len(read_data_dir(tmp_path / "data" / "unlabelled")) == 6
    assert "other has splits, but no unlabelled; its train is taken for that\n" in capsys.readouterr().err


def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(sound(tmp_path / "a.flac"), "../../a.flac")
    with pytest.raises(
        DataError, match=r"x\.tar cannot be unpacked \(\.\./\.\./a\.flac is not a file or folder inside"
    ):
        imported(tmp_path / "data", tmp_path / "x.tar")
    assert not list((tmp_path / "data" / "unpacked").iterdir())
