"""Songs and shot lists on disk, frames and back."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from seqkd.errors import DataError
from seqkd.shots.classes import LONG_NAMES, SHOTS, class_number, parse_kind
from seqkd.shots.data import (
    Shot,
    Song,
    data_fingerprint,
    frame_classes,
    frame_count,
    read_songs,
    shots_of,
    write_songs,
)

CLASSES = st.lists(st.integers(0, 7), min_size=1, max_size=60)


@pytest.fixture
def songs(tmp_path: Path) -> list[Song]:
    made = []
    for name, kinds in (("a", "CU LS"), ("b", "ADS MIS")):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(8000), 2000)
        first, second = kinds.split()
        made.append(Song(name, tmp_path / f"{name}.wav", (Shot(0.0, 1.25, first), Shot(1.25, 4.0, second))))
    return made


@given(CLASSES, st.sampled_from([0.5, 1.0, 2.0]))
def test_classes_become_shots_and_classes_again(classes: list[int], seconds: float) -> None:
    shots = shots_of(classes, seconds)
    assert frame_classes(shots, len(classes), seconds).tolist() == classes
    assert all(a.end == b.start and a.kind != b.kind for a, b in itertools.pairwise(shots))
    assert (shots[0].start, shots[-1].end) == (0.0, len(classes) * seconds)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 7)), min_size=1, max_size=12))
def test_a_frame_has_the_class_that_covers_most_of_it(runs: list[tuple[int, int]]) -> None:
    """Against counting tenths of a second."""
    tenths = [kind for length, kind in runs for _ in range(length)]
    ends = np.cumsum([length for length, _ in runs]) / 10
    shots = [Shot(start, end, SHOTS[kind]) for start, end, (_, kind) in zip([0, *ends[:-1]], ends, runs, strict=True)]
    frames = frame_count(len(tenths) / 10)
    for t, found in enumerate(frame_classes(shots, frames)):
        inside = tenths[10 * t : 10 * t + 10]
        best = max(map(inside.count, inside))
        assert found == next(kind for kind in inside if inside.count(kind) == best)


def test_frames_after_the_last_shot_hold_it() -> None:
    assert frame_classes([Shot(0, 1, "CU"), Shot(1, 2.2, "LS")], 5).tolist() == [0, 4, 4, 4, 4]
    with pytest.raises(DataError, match="empty shot list"):
        frame_classes([], 3)


@pytest.mark.parametrize(
    ("duration", "frames"), [(0.4, 1), (1.0, 1), (2.0, 2), (2.005, 2), (2.02, 3), (180.0, 180), (180.5, 181)]
)
def test_durations_are_rounded_up(duration: float, frames: int) -> None:
    assert frame_count(duration) == frames


def test_songs_come_back_as_they_were_written(songs: list[Song], tmp_path: Path) -> None:
    write_songs(tmp_path / "set", reversed(songs))
    found = read_songs(tmp_path / "set")
    assert [song.shots for song in found] == [song.shots for song in songs]
    assert [song.audio.resolve() for song in found] == [song.audio for song in songs]
    assert (tmp_path / "set" / "wav.scp").read_text() == "a ../a.wav\nb ../b.wav\n"
    assert (tmp_path / "set" / "shots.csv").read_text().splitlines()[:2] == ["id,start,end,type", "a,0,1.25,CU"]


def test_the_unlabelled_set_has_no_list(songs: list[Song], tmp_path: Path) -> None:
    write_songs(tmp_path / "set", songs)
    write_songs(tmp_path / "set", [Song(song.id, song.audio) for song in songs])
    assert [song.shots for song in read_songs(tmp_path / "set")] == [None, None]
    with pytest.raises(DataError, match=r"song 'b' has no shots, but others have"):
        write_songs(tmp_path / "set", [songs[0], Song("b", songs[1].audio)])


def test_an_interrupted_writing_is_no_set(songs: list[Song], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_songs(tmp_path / "set", songs)

    def dies(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seqkd.shots.data.write_text", dies)
    with pytest.raises(KeyboardInterrupt):
        write_songs(tmp_path / "set", songs[:1])
    with pytest.raises(DataError, match=r"wav\.scp is missing"):
        read_songs(tmp_path / "set")


def test_the_fingerprint_sees_lists_and_audio(songs: list[Song]) -> None:
    marks = {data_fingerprint(songs), data_fingerprint(songs[:1])}
    marks.add(data_fingerprint([Song("a", songs[0].audio, songs[1].shots), songs[1]]))
    soundfile.write(songs[0].audio, np.ones(9000), 2000)
    marks.add(data_fingerprint(songs))
    assert len(marks) == 4


def test_spellings_of_types() -> None:
    assert [parse_kind(name.upper()) for name in LONG_NAMES.values()] == list(SHOTS)
    assert [parse_kind(text) for text in ("cu", " Close Up ", "medium_shot", "crane")] == ["CU", "CU", "MS", None]
    assert [class_number(kind) for kind in SHOTS] == list(range(8))


def test_reading_lists_takes_no_heavy_library() -> None:
    code = (
        "import sys, seqkd.shots.data, seqkd.shots.classes; print(sum(m in sys.modules for m in ('torch', 'librosa')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
