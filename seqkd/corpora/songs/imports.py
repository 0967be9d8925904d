"""Songs and shot lists of one's own, made a corpus: a directory of audio files with the lists beside them.

A song is an audio file (wav, flac, ogg, mp3; of m4a and of videos the sound is to be taken out with ffmpeg first). Its
list has the same name but for the suffix, or is PySceneDetect's ``<name>-Scenes.csv``;
``seqkd.corpora.songs.shot_lists`` says what it may look like. Subdirectories are searched too. Songs are dealt out to
``train``, ``dev`` and ``test``, so that no song is in two sets; those without a list make the set ``unlabelled``. Audio
stays where it is.
"""

from __future__ import annotations

import hashlib
import random
import re
import shlex
from pathlib import Path

from seqkd.corpora.corpus import check_apart
from seqkd.corpora.songs.shot_lists import LOOSE, SUFFIXES, read_shot_list
from seqkd.errors import ConfigError, DataError
from seqkd.files import check_name, mark, remove_own
from seqkd.settings import number
from seqkd.shots.data import Shot, Song, write_songs
from seqkd.shots.editing.timecode import FrameRate, parse_rate

AUDIO = (".wav", ".flac", ".ogg", ".mp3")
# Sound that has to be taken out of them first.
ENCODED = (
    ".m4a", ".m4b", ".aac", ".opus", ".aif", ".aiff", ".wma",
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".mxf",
)  # fmt: skip
SCENES = "-Scenes"  # what PySceneDetect puts behind a video's name
_SETS = ("train", "dev", "test", "unlabelled")


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int = 1,
    source: Path | str,
    dev: float = 0.1,
    test: float = 0.15,
    seed: int = 0,
    fps: str | float = "25",
) -> None:
    """Make sets of the songs below ``source``.

    Args:
        data_dir: Where to put ``train``, ``dev``, ``test`` and ``unlabelled``, those that have songs.
        nj: Plays no part, as nothing is computed; recipes pass it to every corpus.
        source: Directory of audio files and shot lists.
        dev: Songs of the development set: how many, or below 1 the share.
        test: The same of the test set.
        seed: Decides who is in which set; a song stays where it is as long as the files are the same.
        fps: Frame rate of timecodes in lists: 23.976, 24, 25, 29.97 (drop-frame), 30, 50, 59.94, 60 ...

    Raises:
        ConfigError: A setting is wrong, or a timeline needs OpenTimelineIO and that is not installed.
        DataError: Something is wrong with a file; the sentence names it and the line.
    """
    del nj
    data_dir, source = Path(data_dir), Path(source)
    rate = parse_rate(str(fps))
    if not source.is_dir():
        raise ConfigError(f"corpus.source {source} is not a directory; expected one with songs and shot lists.")
    found = find_songs(source)
    check_apart([source, *(file for pair in found for file in pair if file is not None)], data_dir, _SETS)
    songs = []
    for audio, listed in found:
        shots = _shots(listed, _duration(audio), rate) if listed else None
        songs.append(Song(song_id(audio.relative_to(source)), audio, shots))
    labelled = [song for song in songs if song.shots is not None]
    sets = deal(labelled, dev, test, seed)
    sets["unlabelled"] = [song for song in songs if song.shots is None]
    for name in _SETS:
        if sets[name]:
            (data_dir / name).mkdir(parents=True, exist_ok=True)
            mark(data_dir / name)
            write_songs(data_dir / name, sets[name])
            frames = sum(song.shots[-1].end for song in sets[name] if song.shots)
            print(f"{name}: {len(sets[name])} songs" + (f", {frames / 60:.0f} labelled minutes" if frames else ""))
        else:  # of an earlier run with other songs
            remove_own(data_dir / name)


def find_songs(source: Path) -> list[tuple[Path, Path | None]]:
    """Return every audio file below ``source`` with its shot list, or None where there is none, sorted by path.

    Raises:
        DataError: No audio, two files of one song, a list without audio, or the same recording twice.
    """
    audio: dict[Path, Path] = {}
    lists: dict[Path, Path] = {}
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in files:
        if path.suffix.lower() in (*AUDIO, *ENCODED, *SUFFIXES, *LOOSE):
            check_name(path)
    loose = [path for path in files if path.suffix.lower() in LOOSE]
    for path in (path for path in files if path.suffix.lower() not in LOOSE):
        for table, suffixes, what in ((audio, AUDIO, "audio files"), (lists, SUFFIXES, "shot lists")):
            if path.suffix.lower() in suffixes:
                other = table.setdefault(path.with_suffix(""), path)
                if other != path:
                    raise DataError(f"{other} and {path.name} are two {what} of one song; keep one of them.")
    for stem in [stem for stem in lists if stem.name.endswith(SCENES) and stem not in audio]:
        song = stem.with_name(stem.name.removesuffix(SCENES))
        scenes = lists.pop(stem)
        if (other := lists.setdefault(song, scenes)) is not scenes:
            raise DataError(f"{other} and {scenes.name} are two shot lists of one song; keep one of them.")
    for path in loose:  # notes and lyrics as likely as a list: only beside a song that has none
        if path.with_suffix("") in audio:
            lists.setdefault(path.with_suffix(""), path)
    for path in files:
        stem = path.with_suffix("")
        if path.suffix.lower() in ENCODED and stem not in audio:
            sentence = f"{path} has sound that is not read as it is; take it out: {taken_out(path)}"
            if stem in lists:
                raise DataError(sentence)
            print(f"left out: {sentence}")
    if not audio:
        raise DataError(f"{source} has no audio files; expected some of {', '.join(AUDIO)}.")
    for stem, path in lists.items():
        if stem not in audio and path.suffix.lower() != ".json":
            raise DataError(f"{path} has no audio file beside it; expected {stem.name} with {' or '.join(AUDIO)}.")
    _check_distinct(source, list(audio.values()))
    return [(path, lists.get(stem)) for stem, path in audio.items()]


def taken_out(path: Path) -> str:
    """Return the command that writes the sound of a file as FLAC beside it."""
    return f"ffmpeg -i {shlex.quote(str(path))} -vn {shlex.quote(str(path.with_suffix('.flac')))}"


def _shots(listed: Path, duration: float, rate: FrameRate) -> tuple[Shot, ...] | None:
    try:
        return read_shot_list(listed, duration, rate)
    except DataError as error:
        if listed.suffix.lower() not in LOOSE:
            raise
        print(f"not taken for a shot list: {error}")
        return None


def song_id(path: Path) -> str:
    """Return the id of a song: its path without suffix, all but letters, digits, ``-`` and ``_`` replaced by ``_``."""
    return re.sub(r"[^\w-]+", "_", path.with_suffix("").as_posix(), flags=re.ASCII).strip("_") or "song"


def deal(songs: list[Song], dev: float, test: float, seed: int) -> dict[str, list[Song]]:
    """Deal songs out to train, dev and test; the draw depends on the ids and the seed, not on the order.

    Raises:
        ConfigError: ``dev`` and ``test`` are no numbers from 0, or leave nothing to train on.
    """
    shuffled = sorted(songs, key=lambda song: song.id)
    random.Random(f"{seed} split").shuffle(shuffled)
    sizes = {}
    for name, value in (("dev", dev), ("test", test)):
        number(f"corpus.{name}", value, 0, 1e6)
        # A share of a few songs is at least one of them.
        sizes[name] = int(value) if value >= 1 else max(round(value * len(songs)), 1 if value and len(songs) > 2 else 0)
    left = len(songs) - sizes["dev"] - sizes["test"]
    if songs and left < 1:
        raise ConfigError(
            f"corpus.dev and corpus.test take {sizes['dev']} and {sizes['test']} of {len(songs)} songs with shot "
            "lists, which leaves none to train on; ask for fewer, or add songs."
        )
    return {
        "dev": shuffled[: sizes["dev"]],
        "test": shuffled[sizes["dev"] : sizes["dev"] + sizes["test"]],
        "train": shuffled[sizes["dev"] + sizes["test"] :],
    }


def _check_distinct(source: Path, files: list[Path]) -> None:
    """One recording under two names would be in two sets; two names that make one id could not be told apart."""
    ids: dict[str, Path] = {}
    contents: dict[str, Path] = {}
    for path in files:
        same = ids.setdefault(song_id(path.relative_to(source)), path)
        if same != path:
            raise DataError(f"{same} and {path} would both have id {song_id(path.relative_to(source))!r}; rename one.")
        copy = contents.setdefault(_digest(path), path)
        if copy != path:
            raise DataError(
                f"{copy} and {path} are the same recording, which could come to be in training and test; remove one."
            )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _duration(audio: Path) -> float:
    import soundfile

    try:
        return soundfile.info(audio).duration
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{audio} cannot be read as audio ({error}); expected a wav, flac, ogg or mp3 file.") from error
