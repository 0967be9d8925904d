import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from seqkd.data.duplicates import (
    AUDIO_ALIKE,
    IMAGE_ALIKE,
    audio_fingerprint,
    check_contents,
    check_likeness,
    image_fingerprint,
    near_duplicates,
)
from seqkd.data.splits import (
    assert_no_overlap,
    best_key,
    check_shares,
    read_split,
    record_split,
    split_by_group,
    stems_of,
)
from seqkd.errors import ConfigError, DataError

SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.wav", "a (1).wav", "a_copy.wav"], ["a", "a", "a"]),
        (["a.wav", "A(2).WAV", "a - Copy.flac", "Copy of a.wav", "a copy 2.wav"], ["a"] * 5),
        (["cat/x.png", "dog/x.jpg"], ["x", "x"]),
        # All files of a folder, numbered by the system: there is no file without a number.
        (["dog (1).jpg", "dog (2).jpg"], ["dog (1)", "dog (2)"]),
        (["dog_1.jpg", "dog_2.jpg", "dog-3.jpg"], ["dog_1", "dog_2", "dog-3"]),
        (["yes/0a7c_nohash_0.wav", "no/0a7c_nohash_1.wav"], ["0a7c", "0a7c"]),
        (["copy.wav", "(1).wav", "~.wav"], ["copy", "(1)", "~"]),
        (["photocopy.png", "xcopy.png"], ["photocopy", "xcopy"]),
    ],
)
def test_copies_share_a_stem(names, stems):
    assert stems_of(names) == stems


def test_three_renamed_copies_share_a_part():
    """Check value of entry 11 of the methods: whatever the seed."""
    names = [f"{i}.wav" for i in range(20)] + ["a.wav", "a (1).wav", "a_copy.wav"]
    for seed in range(20):
        key = best_key({}, [Path(name) for name in names])
        assert key.name == "stem"
        parts = split_by_group(names, ["x"] * len(names), key.groups, SHARES, seed)
        assert len([part for part in parts.values() if set(part) & {"a.wav", "a (1).wav", "a_copy.wav"}]) == 1


PATHS = [Path(f"{i}.wav") for i in range(6)]
SIX = ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("known", "wanted", "name", "why"),
    [
        ({}, "best", "stem", "group is missing; speaker is missing; recording is missing; source is missing"),
        ({"speaker": SIX, "source": SIX, "group": [None] * 6}, "best", "speaker", "the best that all items have"),
        ({"group": SIX, "speaker": SIX}, "best", "group", "the best that all items have"),
        ({"recording": SIX, "source": SIX}, "best", "recording", "speaker is missing"),
        ({"speaker": [*SIX[:5], None], "source": SIX}, "best", "source", "speaker is known for 5 of 6 items only"),
        ({"speaker": ["a", "b"] * 3, "source": SIX}, "best", "source", "speaker has 2 values, fewer than 3 parts"),
        ({"speaker": SIX, "source": SIX}, "source", "source", "it was asked for"),
        ({"speaker": SIX}, "item", "item", "nothing is kept together"),
    ],
)  # fmt: skip
def test_the_best_key_there_is(known, wanted, name, why):
    key = best_key(known, PATHS, wanted)
    assert key.name == name
    assert why in key.why
    assert len(key.groups) == 6


def test_keys_that_do_not_do():
    with pytest.raises(ConfigError, match=r"group_key is 'speker'; expected best, group, .* did you mean speaker\?"):
        best_key({}, PATHS, "speker")
    with pytest.raises(DataError, match="cannot be split by speaker: speaker is known for 5 of 6 items only"):
        best_key({"speaker": [*SIX[:5], ""]}, PATHS, "speaker")
    with pytest.raises(DataError, match=r"cannot be split by any key: .*stem has 1 values, fewer than 3 parts"):
        best_key({}, [Path(f"{i}/audio.wav") for i in range(6)])


def problem(seed: int, classes: int = 5, groups: int = 60) -> tuple[list[int], list[str], list[str]]:
    """Groups of very different sizes, most with several classes."""
    rng = random.Random(seed)
    labels, names = [], []
    for group in range(groups):
        mine = rng.sample(range(classes), rng.randint(1, 3))
        for _ in range(rng.randint(1, 20)):
            labels.append(f"c{rng.choice(mine)}")
            names.append(f"g{group}")
    return list(range(len(labels))), labels, names


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_classes_get_their_shares(seed):
    items, labels, groups = problem(seed)
    parts = split_by_group(items, labels, groups, SHARES, seed)
    assert sorted(item for part in parts.values() for item in part) == items
    assert_no_overlap({part: [groups[item] for item in chosen] for part, chosen in parts.items()})
    total = Counter(labels)
    for part, share in SHARES.items():
        found = Counter(labels[item] for item in parts[part])
        assert len(parts[part]) / len(items) == pytest.approx(share, abs=0.05)
        for label, count in total.items():
            assert found[label] / count == pytest.approx(share, abs=0.12), (part, label)
    assert parts == split_by_group(items, labels, groups, SHARES, seed)
    assert parts != split_by_group(items, labels, groups, SHARES, seed + 100)


def test_items_by_themselves_get_exact_shares():
    labels = ["a"] * 100 + ["b"] * 10
    parts = split_by_group(range(110), labels, range(110), SHARES, 3)
    assert {part: Counter(labels[i] for i in chosen) for part, chosen in parts.items()} == {
        "train": {"a": 70, "b": 7}, "dev": {"a": 10, "b": 1}, "test": {"a": 20, "b": 2},
    }  # fmt: skip


def test_train_and_then_test_get_every_class():
    """Classes of two groups; the largest group would be enough for all of train."""
    labels = [*["a"] * 30, "b", "b", "c", "c", "c", *["d"] * 9]
    groups = [*["big"] * 28, "g1", "g2", "g1", "g3", "g4", "g4", "g5", *[f"d{i}" for i in range(9)]]
    for seed in range(30):
        parts = split_by_group(range(len(labels)), labels, groups, SHARES, seed)
        for part in ("train", "test"):
            assert {labels[i] for i in parts[part]} == {"a", "b", "c", "d"}


def test_what_is_settled_stays_where_it_is():
    items, labels, groups = problem(1)
    half = [i for i in items if int(groups[i][1:]) < 30]
    first = split_by_group(half, [labels[i] for i in half], [groups[i] for i in half], SHARES, 0)
    settled = {groups[i]: part for part, chosen in first.items() for i in chosen}
    second = split_by_group(items, labels, groups, SHARES, 0, settled)
    for part, chosen in first.items():
        assert set(chosen) <= set(second[part])
    assert len(second["test"]) / len(items) == pytest.approx(0.2, abs=0.05)


def test_too_few_groups():
    with pytest.raises(DataError, match="There are 2 groups for 3 parts"):
        split_by_group(range(4), list("aabb"), list("xyxy"), SHARES, 0)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"train": 0.7, "test": 0.2}, "shares sum to 0.9; expected 1."),
        ({"test": 1.0}, "expected train and at least one other part"),
        ({"train": 1.0, "test": 0}, "shares.train is 1.0, expected a number from 0.001 to 0.999"),
    ],
)
def test_shares_that_are_none(shares, said):
    with pytest.raises(ConfigError) as caught:
        check_shares(shares)
    assert said in str(caught.value)


def test_overlap_is_named():
    with pytest.raises(DataError, match="The speaker 'bob' is in train and in test: what is learned of it in one"):
        assert_no_overlap({"train": ["ann", "bob"], "dev": ["eve"], "test": ["bob"]}, "speaker")


def test_the_split_is_kept_with_its_reasons(tmp_path):
    assert read_split(tmp_path) is None
    key = best_key({"speaker": SIX}, PATHS)
    parts = {"train": [("x", "a"), ("x", "b"), ("y", "b")], "dev": [("x", "c")], "test": [("y", "d"), ("x", "d")]}
    record = record_split(key, parts, SHARES, 7, {"note": 1})
    record.write(tmp_path)
    assert read_split(tmp_path) == record
    assert record.part_of == {"a": "train", "b": "train", "c": "dev", "d": "test"}
    assert record.classes == {"x": {"train": 2, "dev": 1, "test": 1}, "y": {"train": 1, "dev": 0, "test": 1}}
    assert record.lacking == {"dev": ["y"]}
    assert record.describe() == (
        "split by speaker (the best that all items have; group is missing): train 3 of 2, dev 1 of 1, test 2 of 1 "
        "groups; dev lacks y"
    )
    stored = json.loads((tmp_path / "split.json").read_text())
    assert (stored["key"], stored["seed"], stored["shares"]) == ("speaker", 7, SHARES)
    (tmp_path / "split.json").write_text("{}")
    with pytest.raises(DataError, match=r"split.json cannot be read .*; delete it to have the data split anew"):
        read_split(tmp_path)


def word(seed: int, rate: int = 16000) -> np.ndarray:
    """A second of harmonics whose pitch and formants move at random."""
    rng = np.random.default_rng(seed)
    time = np.arange(rate) / rate
    moves = [np.interp(time, np.linspace(0, 1, 6), rng.uniform(-1, 1, 6)) for _ in range(3)]
    phase = 2 * np.pi * np.cumsum(150 + 50 * moves[0]) / rate
    sound = np.zeros(rate)
    for harmonic in range(1, 20):
        frequency = harmonic * 150
        level = sum(np.exp(-(((frequency - f - 300 * m) / 200) ** 2)) for f, m in ((600, moves[1]), (1800, moves[2])))
        sound += level * np.sin(harmonic * phase)
    return (0.1 * sound + 1e-3 * rng.standard_normal(rate)).astype(np.float32)


def test_changed_copies_of_a_sound_are_found_and_others_are_not():
    import soxr

    rng = np.random.default_rng(0)
    prints = [audio_fingerprint(word(seed), 16000) for seed in range(40)]
    assert all(found is not None and np.linalg.norm(found) == pytest.approx(1, abs=1e-3) for found in prints)
    matrix = np.stack(prints)
    assert np.triu(matrix @ matrix.T, 1).max() < AUDIO_ALIKE - 0.1
    original = word(3)
    changed = {
        "quieter": (original * 0.2, 16000),
        "resampled": (soxr.resample(original, 16000, 11025), 11025),
        "padded": (np.pad(original, (4000, 8000)), 16000),
        "noisy": (original + 1e-3 * rng.standard_normal(16000), 16000),
        "stereo": (np.stack([original, original], axis=1), 16000),
        "8 bit": (np.round(original * 128) / 128, 16000),
    }
    likeness = {name: float(audio_fingerprint(*sound) @ matrix[3]) for name, sound in changed.items()}
    assert min(likeness.values()) > AUDIO_ALIKE, likeness
    assert audio_fingerprint(np.zeros(16000), 16000) is None
    assert audio_fingerprint(np.zeros(0), 16000) is None
    assert audio_fingerprint(original[:200], 16000) is None


def test_changed_copies_of_a_picture_are_found_and_others_are_not(tmp_path):
    images = pytest.importorskip("PIL.Image")

    def picture(seed: int):
        small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
        return images.fromarray(small).resize((96, 96), images.Resampling.BICUBIC)

    def fingerprint(image, name="x.png", **options):
        image.save(tmp_path / name, **options)
        return image_fingerprint(tmp_path / name)

    prints = np.stack([fingerprint(picture(seed)) for seed in range(30)])
    assert np.triu(prints @ prints.T, 1).max() < IMAGE_ALIKE - 0.1
    original = picture(4)
    changed = [
        fingerprint(original, "x.jpg", quality=40),
        fingerprint(original.resize((48, 48))),
        fingerprint(original.point(lambda value: value * 0.8)),
    ]
    assert min(float(found @ prints[4]) for found in changed) > IMAGE_ALIKE
    red, blue = (images.new("RGB", (20, 20), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    assert fingerprint(red) @ fingerprint(blue) < 0
    assert fingerprint(images.new("L", (20, 20), 90)) is None
    original.save(tmp_path / "x.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "x.png").read_bytes()[:500])
    with pytest.raises(DataError, match=r"broken.png cannot be read as an image \("):
        image_fingerprint(tmp_path / "broken.png")


def test_the_same_content_in_two_parts_or_of_two_classes(tmp_path):
    files = {}
    for name, content in {"a": "1", "b": "2", "c": "1", "d": "2", "e": "3"}.items():
        files[name] = tmp_path / name
        files[name].write_text(content)
    labels = dict.fromkeys(files.values(), "x")
    assert check_contents({"train": [files["a"], files["c"]], "test": [files["b"]]}, labels) == [
        (files["a"], files["c"])
    ]
    with pytest.raises(DataError) as caught:
        check_contents({"train": [files["a"], files["e"]], "test": [files["b"], files["c"]]}, labels)
    assert str(caught.value) == (
        f"{files['a']} (in train) and {files['c']} (in test) have the same content; parts must not share files: "
        "take one of them out, or give both the same group."
    )
    with pytest.raises(DataError, match="have the same content; one of the classes is wrong"):
        check_contents({"train": [files["a"], files["c"]]}, {**labels, files["c"]: "y"})


def test_near_duplicates_are_looked_for_between_parts_only():
    one, other = np.eye(4, dtype=np.float32)[:2]
    near = (one + 0.1 * other) / np.linalg.norm(one + 0.1 * other)
    parts = {
        "train": [(Path("a"), one), (Path("b"), one), (Path("c"), None)],
        "dev": [(Path("d"), None)],
        "test": [(Path("e"), near), (Path("f"), other)],
    }
    found = near_duplicates(parts, 0.9)
    assert [(pair.one.name, pair.other.name) for pair in found] == [("a", "e"), ("b", "e")]
    part_of = {path: part for part, items in parts.items() for path, _ in items}
    with pytest.raises(DataError) as caught:
        check_likeness(found, part_of, "corpus.allow")
    assert str(caught.value) == (
        "a (in train) and e (in test) are nearly the same, 0.995 of 1 (2 such pairs in all); take one of them out, "
        "give both the same group, or set corpus.allow=true if they are not copies."
    )
    check_likeness([], part_of, "corpus.allow")
