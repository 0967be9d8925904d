import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.own import clips
from seqkd.corpora.own.clips import make_corpus
from seqkd.errors import ConfigError, DataError


def sound(name: str, seconds: float = 0.4, rate: int = 16000) -> np.ndarray:
    """Pulses of noise in random bands: no two names are alike."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    time = np.arange(round(seconds * rate)) / rate
    signal = np.zeros(len(time))
    for _ in range(30):
        level = np.exp(-(((time - rng.uniform(0, seconds)) / 0.02) ** 2))
        signal += level * np.sin(2 * np.pi * rng.uniform(150, 3500) * time + rng.uniform(0, 6))
    return (0.05 * signal).astype(np.float32)


def write(path: Path, samples: np.ndarray | None = None, rate: int = 16000, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        path, sound(path.name + path.parent.name, rate=rate) if samples is None else samples, rate, **options
    )
    return path


def picture(path: Path, seed: int | None = None) -> Path:
    images = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int(hashlib.sha256(str(path).encode()).hexdigest()[:8], 16) if seed is None else seed
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    images.fromarray(small).resize((48, 48), images.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes of ten sounds, by five speakers that only the names tell."""
    for label in ("cat", "big dog"):
        for speaker in "abcde":
            for number in range(2):
                write(tmp_path / "mine" / label / f"{speaker}-{label[:1]}{number}.wav")
    return tmp_path / "mine"


def make(where: Path, **settings) -> Path:
    make_corpus(where / "data", **{"nj": 1, "seed": 0, **settings})
    return where / "data"


def table(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    assert lines == sorted(lines)
    return dict(line.split(" ", 1) for line in lines)


def said(error: type[Exception], where: Path, **settings) -> str:
    before = sorted(where.rglob("*"))
    with pytest.raises(error) as caught:
        make(where, **settings)
    new = {file.name for file in set(where.rglob("*")) - set(before)} - {"data", ".content.json", ".fingerprints.npz"}
    assert not new, f"half-written: {new}"
    return str(caught.value)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_folders_of_classes(folder, tmp_path, capfd):
    data = make(tmp_path, folder=folder)
    assert (data / "classes.txt").read_text() == "big_dog\ncat\n"
    labels = {part: table(data / part / "label") for part in ("train", "dev", "test")}
    assert {part: Counter(found.values()) for part, found in labels.items()} == {
        "train": {"cat": 7, "big_dog": 7}, "dev": {"cat": 1, "big_dog": 1}, "test": {"cat": 2, "big_dog": 2},
    }  # fmt: skip
    split = json.loads((data / "split.json").read_text())
    assert split["key"] == "stem"
    assert "speaker is missing" in split["why"]
    for part, found in labels.items():
        files = table(data / part / "wav.scp")
        assert files.keys() == found.keys() == table(data / part / "group").keys()
        for key, file in files.items():
            assert (data / part / file).resolve().is_relative_to(folder)  # used where it lies
            assert (data / part / file).parent.name.replace(" ", "_") == found[key]
        assert not (data / part / "utt2spk").exists()
    assert "split by stem (the best that all items have; group is missing;" in capfd.readouterr().err


def test_a_pattern_tells_speakers_and_no_speaker_is_in_two_parts(folder, tmp_path):
    data = make(tmp_path, folder=folder, pattern=r"(?P<speaker>[a-e])-[^/]*$")
    assert json.loads((data / "split.json").read_text())["key"] == "speaker"
    speakers = {part: set(table(data / part / "utt2spk").values()) for part in ("train", "dev", "test")}
    assert sorted(speaker for found in speakers.values() for speaker in found) == list("abcde")
    assert table(data / "train" / "utt2spk") == table(data / "train" / "group")


def test_a_table_with_groups(folder, tmp_path):
    lines = ["path,label,group"]
    for file in sorted(folder.rglob("*.wav")):
        lines.append(f"{file.relative_to(folder)},{file.parent.name},site {file.name[0]}")
    (folder / "list.csv").write_text("\n".join(lines))
    data = make(tmp_path, csv=folder / "list.csv", shares={"train": 0.6, "dev": 0.2, "test": 0.2})
    split = json.loads((data / "split.json").read_text())
    assert split["key"] == "group"
    assert {part: len(found) for part, found in split["groups"].items()} == {"train": 3, "dev": 1, "test": 1}
    assert set(table(data / "test" / "group").values()) == set(split["groups"]["test"])
    assert all(value.startswith("site_") for value in table(data / "test" / "group").values())


def test_given_parts_are_kept(folder, tmp_path):
    for part, count in (("train", 4), ("valid", 2), ("test", 2)):
        for label in ("x", "y"):
            for number in range(count):
                write(tmp_path / "parts" / part / label / f"{number}.flac", sound(f"{part}{label}{number}"))
    data = make(tmp_path, folder=tmp_path / "parts")
    sizes = {part: len(table(data / part / "label")) for part in ("train", "dev", "test")}
    assert sizes == {"train": 8, "dev": 4, "test": 4}


def test_a_test_set_of_its_own(folder, tmp_path):
    for label in ("cat", "big dog"):
        write(tmp_path / "other" / label / "z.wav")
    data = make(tmp_path, folder=folder, test=tmp_path / "other")
    assert {part: len(table(data / part / "label")) for part in ("train", "dev", "test")} == {
        "train": 18, "dev": 2, "test": 2,
    }  # fmt: skip


def test_images(tmp_path):
    for label in ("cat", "dog"):
        for number in range(10):
            picture(tmp_path / "mine" / label / f"{number}.png")
    data = make(tmp_path, folder=tmp_path / "mine")
    assert len(table(data / "train" / "image.scp")) == 14
    assert not (data / "train" / "wav.scp").exists()
    # Files of one name in two classes have one stem, and so one part.
    groups = [set(table(data / part / "group").values()) for part in ("train", "dev", "test")]
    assert sorted(name for found in groups for name in found) == sorted(map(str, range(10)))


def test_audio_of_other_rates_is_converted(folder, tmp_path):
    write(folder / "cat" / "f.wav", rate=44100)
    write(folder / "cat" / "g.wav", np.stack([sound("g"), sound("g")], axis=1))
    data = make(tmp_path, folder=folder)
    files = [
        data / part / file for part in ("train", "dev", "test") for file in table(data / part / "wav.scp").values()
    ]
    assert {(info.samplerate, info.channels) for info in map(soundfile.info, files)} == {(16000, 1)}
    assert len([file for file in files if file.resolve().is_relative_to(data)]) == 2


def test_the_same_again_changes_nothing_and_reads_nothing(folder, tmp_path, monkeypatch):
    data = make(tmp_path, folder=folder)
    before = {file: file.stat().st_mtime_ns for file in data.rglob("*") if file.parent != data}
    first = contents(data)
    monkeypatch.setattr(clips, "look_at_audio", None)  # would fail
    make(tmp_path, folder=folder)
    assert {file: file.stat().st_mtime_ns for file in data.rglob("*") if file.parent != data} == before
    assert contents(data) == first


def test_files_that_come_later_do_not_move_those_that_are_there(folder, tmp_path):
    data = make(tmp_path, folder=folder)
    before = {part: table(data / part / "label") for part in ("train", "dev", "test")}
    for number in range(20):
        write(folder / "cat" / f"new{number}.wav")
    make(tmp_path, folder=folder)
    after = {part: table(data / part / "label") for part in ("train", "dev", "test")}
    assert all(before[part].items() <= after[part].items() for part in before)
    assert sum(map(len, after.values())) == 40
    assert len(after["test"]) == 8
    make(tmp_path, folder=folder, seed=1)
    assert table(data / "test" / "label") != after["test"]


def test_ids_are_unique_words(tmp_path):
    for label in ("x", "y"):
        for number in range(4):
            write(tmp_path / "mine" / label / f"a {number}.wav")
            write(tmp_path / "mine" / label / f"a_{number}.wav")
    data = make(tmp_path, folder=tmp_path / "mine")
    ids = [key for part in ("train", "dev", "test") for key in table(data / part / "label")]
    assert len(set(ids)) == 16
    assert "x-a_0~2" in ids


def test_one_item_of_a_class(folder, tmp_path):
    only = write(folder / "cow" / "a.wav")
    assert said(DataError, tmp_path, folder=folder) == (
        f"Class 'cow' has one item ({only}); expected at least 3, two to train with and one to test with: add some, or "
        "leave the class out."
    )


def test_a_class_of_one_speaker(folder, tmp_path):
    for number in range(4):
        write(folder / "cow" / f"a-{number}.wav")
    found = said(DataError, tmp_path, folder=folder, pattern="/(?P<speaker>[a-e])-")
    assert found.startswith("All 4 items of class 'cow' have one speaker ('a'), so that test could not have any; ")


def test_a_label_in_test_only(folder, tmp_path):
    write(tmp_path / "other" / "cat" / "z.wav")
    odd = write(tmp_path / "other" / "cow" / "z.wav")
    assert said(DataError, tmp_path, folder=folder, test=tmp_path / "other") == (
        f"{odd}: class 'cow' is in test only, so that no model could know it; add items of it to train, or take it out "
        "of test."
    )


def test_groups_in_two_parts(folder, tmp_path):
    rows = [f"{file},{file.parent.name},{file.name[0]}" for file in sorted(folder.rglob("*.wav"))]
    (tmp_path / "train.csv").write_text("\n".join(["path,label,speaker", *rows]))
    write(tmp_path / "more" / "cat" / "n.wav")
    (tmp_path / "test.csv").write_text("path,label,patient\nmore/cat/n.wav,cat,b\n")
    found = said(DataError, tmp_path, csv=tmp_path / "train.csv", test=tmp_path / "test.csv")
    assert found.startswith("The speaker 'b' is in ")
    assert " and in test: what is learned of it in one would count in the other." in found


def test_classes_that_differ_in_case(folder, tmp_path):
    write(folder / "Cat" / "x.wav")
    found = said(DataError, tmp_path, folder=folder)
    assert found.startswith(f"Classes 'Cat' ({folder / 'Cat' / 'x.wav'}) and 'cat' (")
    assert found.endswith(") differ in case alone; write both alike if they are one class, else name one otherwise.")


def test_images_among_audio(folder, tmp_path):
    odd = picture(folder / "cat" / "x.png")
    found = said(DataError, tmp_path, folder=folder)
    assert found.startswith(f"{odd} is an image, ")
    assert found.endswith(" is audio; expected either, not both: take one kind out.")


def test_empty_folders(folder, tmp_path):
    (folder / "cow").mkdir()
    assert said(DataError, tmp_path, folder=folder).startswith(
        f"{folder / 'cow'} is empty; expected files of class 'cow' named *.wav, *.flac, "
    )
    (folder / "cow" / "notes.txt").write_text("x")
    assert said(DataError, tmp_path, folder=folder).startswith(
        f"{folder / 'cow'} holds neither audio nor images (notes.txt, say); expected files of class 'cow'"
    )
    (tmp_path / "none").mkdir()
    assert said(DataError, tmp_path, folder=tmp_path / "none") == (
        f"{tmp_path / 'none'} has no folders; expected one for each class, with its audio or images."
    )


def test_nan_and_other_broken_audio(folder, tmp_path):
    samples = sound("x")
    samples[[7, 9]] = np.nan
    odd = write(folder / "cat" / "x.wav", samples, subtype="FLOAT")
    assert said(DataError, tmp_path, folder=folder) == (
        f"{odd} has a sample that is no number at 0.00 s; mend it, or take it out."
    )
    write(odd, samples[:0])
    assert said(DataError, tmp_path, folder=folder) == f"{odd} has no samples; take it out."
    odd.write_bytes(b"no sound at all")
    found = said(DataError, tmp_path, folder=folder)
    assert found.startswith(f"{odd} cannot be read as audio (")
    other = write(folder / "cat" / "y.wav", samples, subtype="FLOAT")
    assert said(DataError, tmp_path, folder=folder).endswith("; mend it, or take it out. (2 files have faults in all.)")
    other.unlink()
    # A table names the line.
    (tmp_path / "list.csv").write_text(
        "path,label\n" + "\n".join(f"{f},{f.parent.name}" for f in sorted(folder.rglob("*.wav"), reverse=True))
    )
    line = 1 + sorted(folder.rglob("*.wav"), reverse=True).index(odd) + 1
    found = said(DataError, tmp_path, csv=tmp_path / "list.csv")
    assert found.startswith(f"{tmp_path / 'list.csv'}, line {line}: {odd} cannot be read as audio (")


def test_a_broken_image(tmp_path):
    for label in ("cat", "dog"):
        for number in range(4):
            picture(tmp_path / "mine" / label / f"{label}{number}.png")
    odd = tmp_path / "mine" / "cat" / "cat1.png"
    odd.write_bytes(odd.read_bytes()[:300])
    assert said(DataError, tmp_path, folder=tmp_path / "mine").startswith(f"{odd} cannot be read as an image (")


def test_the_same_content_across_parts(folder, tmp_path):
    (folder / "cat" / "zz.wav").write_bytes((folder / "cat" / "a-c0.wav").read_bytes())
    # Seed 1 puts them into two parts.
    found = said(DataError, tmp_path, folder=folder, seed=1)
    assert "cat/a-c0.wav (in " in found
    assert "cat/zz.wav (in " in found
    assert " have the same content; parts must not share files: " in found
    # With a name that says that it is a copy, it shares the part of the other.
    (folder / "cat" / "zz.wav").rename(folder / "cat" / "a-c0 (1).wav")
    for seed in range(5):
        data = make(tmp_path, folder=folder, seed=seed)
        assert json.loads((data / "split.json").read_text())["notes"]["copies_within_a_part"]
    (folder / "big dog" / "q.wav").write_bytes((folder / "cat" / "a-c0.wav").read_bytes())
    assert "have the same content; one of the classes is wrong" in said(DataError, tmp_path, folder=folder)


def test_near_duplicates_across_parts(folder, tmp_path):
    for number, seconds in enumerate((0.05, 0.1, 0.2, 0.3)):  # louder, and padded
        copy = np.pad(1.5 * sound("a-c0.wavcat"), (round(seconds * 16000), 0))
        write(folder / "cat" / f"other{number}.wav", copy)
    found = said(DataError, tmp_path, folder=folder)
    assert " are nearly the same, " in found
    assert found.endswith("or set corpus.allow_near_duplicates=true if they are not copies.")
    data = make(tmp_path, folder=folder, allow_near_duplicates=True)
    assert json.loads((data / "split.json").read_text())["notes"]["near_duplicates_accepted"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("path,text\nx.wav,a\n", "{t}, line 1: there is no column label; found path, text; expected a header "),
        ("path,label\n,a\n", "{t}, line 2: path is empty; expected an audio file or an image."),
        ("path,label\nx.wav,\n", "{t}, line 2: label is empty; expected the name of a class."),
        ("path,label\nno.wav,a\n", "{t}, line 2: the file 'no.wav' is missing; looked for "),
        ("path,label\nlist.csv,a\n", "{t}, line 2: 'list.csv' is no audio and no image; expected one of .wav, "),
        ("path,label\nx.wav,a\nx.wav,b\n", "{t}, line 3: 'x.wav' is there already, on line 2."),
        ("path,label,split\nx.wav,a,eval\n", "{t}, line 2: split is 'eval'; expected train, dev or test."),
        ("path,label\n", "{t} has a header and nothing else; expected a line a file."),
        ("", "{t} is empty; expected a line a file."),
        ("path,label\nx.wav,a\n", "There is one class to train with (a); expected at least two."),
    ],
)  # fmt: skip
def test_broken_tables(table, expected, tmp_path):
    write(tmp_path / "x.wav")
    file = tmp_path / "list.csv"
    file.write_text(table)
    assert said(DataError, tmp_path, csv=file, group_key="item").startswith(expected.replace("{t}", str(file)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {},
            "Set one of corpus.folder (a folder with a folder for each class) and corpus.csv (a table ",
        ),
        ({"folder": "mine", "csv": "x.csv"}, "Set one of corpus.folder "),
        ({"folder": "mine", "shares": {"train": 0.5, "test": 0.1}}, "corpus.shares sum to 0.6; expected 1."),
        ({"folder": "mine", "group_key": "name"}, "group_key is 'name'; expected best, group, speaker, "),
        ({"folder": "mine", "pattern": "("}, "corpus.pattern is '(', which is no regular expression ("),
        (
            {"folder": "mine", "pattern": "(?P<who>.)"},
            "corpus.pattern is '(?P<who>.)'; expected named groups, some of ",
        ),
    ],
)
def test_wrong_settings(settings, expected, folder, tmp_path):
    settings = {name: folder if value == "mine" else value for name, value in settings.items()}
    assert said(ConfigError, tmp_path, **settings).startswith(expected)


def test_wrong_places(folder, tmp_path):
    loose = write(folder / "x.wav")
    assert said(DataError, tmp_path, folder=folder) == (
        f"{loose} lies beside the folders of the classes; put it into the folder of its class."
    )
    assert said(DataError, tmp_path, folder=tmp_path / "no") == f"{tmp_path / 'no'} does not exist; mend the path."
    assert said(DataError, tmp_path, csv=loose).startswith(f"{loose} is not what was expected: a folder, or a table")
