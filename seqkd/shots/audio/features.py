"""What a song sounds like, one row a second: the input of every model that chooses shots.

``<data>/<set>/features/`` holds one ``<id>.safetensors`` a song and ``done.json``. A file names what it was made from,
so that an interrupted run carries on and a changed song is measured anew; files appear whole.

Row t describes the second from t to t + 1; there are T = ``frame_count(duration)`` rows, the duration rounded up, so
that the last row may describe a part of a second. Levels are relative to the song's own, since recordings are mastered
at different ones.

Legend: T one-second frames, F features; K beats.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqkd.errors import DataError, SeqkdError
from seqkd.files import atomic_path
from seqkd.parallel import or_one_sentence
from seqkd.settings import between, one_of
from seqkd.shots.audio.structure import Section
from seqkd.shots.data import Song, frame_count, read_songs
from seqkd.stages import again
from seqkd.uptodate import CACHE, content_hash, content_hashes, fingerprint, write_stamp

if TYPE_CHECKING:
    from seqkd.shots.audio.spectrum import Progress

_VERSION = 2  # raise it when the same song gives other features
STRUCTURES = ("novelty", "repetition")
_DEEPEST = -80.0  # dB below the song's level where silence begins


@dataclass(frozen=True)
class SongFeatureSettings:
    """What is measured.

    Attributes:
        mel_bands: Bands of the mel spectrogram up to 11 kHz.
        novelty_seconds: What the structural novelty compares on either side of a moment.
        structure: ``novelty`` for the curve alone and the place in the section, or ``repetition`` for the columns of
            `seqkd.shots.audio.repetition`, too. The former is the default here, as models that do not say which
            were made with it.
        tagger: A directory with ``<id>.csv`` or ``<id>.npy`` for every song, whose columns are appended; see
            ``seqkd.shots.audio.tagger``.
    """

    mel_bands: int = 40
    novelty_seconds: int = 12
    structure: str = "novelty"
    tagger: str | None = None

    def __post_init__(self) -> None:
        between(16, 128, mel_bands=self.mel_bands)
        between(4, 60, novelty_seconds=self.novelty_seconds)
        one_of(STRUCTURES, structure=self.structure)


@dataclass(frozen=True)
class Track:
    """A song as the models and the editor's tool see it.

    Attributes:
        frames: (T, F) float32, one row a second.
        names: F names of the columns.
        beats: (K,) seconds; empty where no beat was found with enough confidence.
        downbeats: Seconds, some of ``beats``; empty where no bar is found.
        sections: From 0 to ``duration`` without gap.
        duration: Seconds.
        tempo: Median beats a minute; 0 where nothing beats.
        confidence: How sure it is that there is a beat, from 0 to 1; see
            `seqkd.shots.audio.beats.beat_confidence`.
    """

    frames: np.ndarray
    names: list[str]
    beats: np.ndarray = field(default_factory=lambda: np.zeros(0))
    downbeats: np.ndarray = field(default_factory=lambda: np.zeros(0))
    sections: tuple[Section, ...] = ()
    duration: float = 0.0
    tempo: float = 0.0
    confidence: float = 0.0


def analyse(
    audio: Path,
    *,
    settings: SongFeatureSettings | None = None,
    tagger: Path | None = None,
    progress: Progress | None = None,
) -> Track:
    """Listen to a song: beats, bars, sections, and one row of features a second.

    Memory stays bounded: audio is read in blocks, and of a song of two hours about 30 MB are kept. The first call in a
    process takes some seconds longer, in which librosa compiles its kernels.

    Args:
        audio: wav, flac, ogg or mp3 of any rate and number of channels, at least a second long.
        settings: What to measure; the defaults if left out. Its ``tagger`` directory plays no part here.
        tagger: CSV or npy file with a tagger's posteriors, whose columns are appended.
        progress: Called with what is being done and the share of it that is done (0 to 1).

    Raises:
        DataError: The audio or the tagger's file cannot be used; the message has the reason.
    """
    from seqkd.shots.audio import beats, repetition, spectrum, structure
    from seqkd.shots.audio.tagger import read_tagger

    settings = settings or SongFeatureSettings()
    report = progress or (lambda what, share: None)
    report("loading librosa", 0.0)
    sound = spectrum.measure(Path(audio), settings.mel_bands, progress)
    frames = frame_count(sound.duration)
    tags, tag_names = read_tagger(tagger, sound.duration) if tagger else (np.zeros((frames, 0)), [])
    report("beats", 0.0)
    beat_times = beats.track_beats(sound.onsets)
    beat_times = beat_times[beat_times < sound.duration]
    confidence = beats.beat_confidence(beat_times, sound.rises)
    if confidence < beats.LEAST_CONFIDENCE:
        beat_times = beat_times[:0]
    downbeats = beats.find_downbeats(beat_times, sound.low_onsets, sound.chroma)
    report("sections", 0.5)
    chroma = spectrum.per_second(sound.chroma)
    level = 10 * np.log10(np.mean(10 ** (sound.loudness.astype(float) / 10)))
    loudness = np.maximum(sound.loudness - level, _DEEPEST)
    mel = np.maximum(sound.mel - level, _DEEPEST)
    described = structure.describe(mel, chroma, spectrum.per_second(loudness))
    curve = structure.novelty(described, settings.novelty_seconds)
    sections = structure.find_sections(described, curve, sound.duration, downbeats)
    columns: dict[str, np.ndarray] = {}
    columns |= _numbered("mel", mel) | _numbered("chroma", chroma) | _numbered("contrast", sound.contrast)
    for name, how in (("mean", np.mean), ("max", np.max), ("std", np.std)):
        columns[f"onset_{name}"] = spectrum.per_second(sound.onsets, how)
        columns[f"loudness_{name}"] = spectrum.per_second(loudness, how)
    columns |= beats.beat_columns(beat_times, downbeats, frames)
    columns["novelty"] = curve
    columns |= _position(sections, frames)
    if settings.structure == "repetition":
        columns |= repetition.repetition_columns(
            described, sound.chroma, spectrum.per_second(loudness), beat_times, sections
        )
    columns |= dict(zip(tag_names, tags.T, strict=True))
    rows = np.stack(list(columns.values()), axis=1).astype(np.float32)  # (T, F)
    report("done", 1.0)
    return Track(
        frames=rows,
        names=list(columns),
        beats=beat_times,
        downbeats=downbeats,
        sections=tuple(sections),
        duration=sound.duration,
        tempo=beats.tempo_of(beat_times),
        confidence=confidence,
    )


def make_features(directory: Path | str, settings: SongFeatureSettings | None = None, nj: int = 1) -> int:
    """Measure every song of a set; return how many there are.

    Songs that are there already and unchanged are kept; ``nj`` processes share the rest, and the result does not
    depend on their number.

    Raises:
        DataError: Something is wrong with the set or with a song.
    """
    from seqkd.progress import ProgressBar

    directory, settings = Path(directory), settings or SongFeatureSettings()
    songs = read_songs(directory)
    folder = directory / "features"
    folder.mkdir(exist_ok=True)
    contents = content_hashes((song.audio for song in songs), directory / CACHE)
    marks = {song.id: _mark(song, contents[song.audio], settings) for song in songs}
    for stale in folder.iterdir():
        if not (stale.suffix == ".safetensors" and stale.stem in marks):
            stale.unlink()
    todo = [song for song in songs if _mark_of(folder / f"{song.id}.safetensors") != marks[song.id]]
    work = partial(_measure_song, folder=folder, settings=settings, marks=marks)
    bar = partial(
        ProgressBar,
        total=len(songs),
        initial=len(songs) - len(todo),
        desc=f"features of {directory.name}",
        unit="song",
        disable=not todo,
    )
    if nj <= 1 or len(todo) <= 1:
        for _ in bar(map(work, todo)):
            pass
    else:
        with ProcessPoolExecutor(min(nj, len(todo))) as pool:
            try:
                for _ in bar(or_one_sentence(pool.map(work, todo), "features: one of the worker processes")):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    write_stamp(folder / "done.json", {"settings": asdict(settings), "songs": marks})
    return len(songs)


def read_features(directory: Path | str) -> dict[str, Track]:
    """Return the features of every song of a set, as ``make_features`` left them.

    Raises:
        DataError: They are not finished, or a file is damaged.
    """
    folder = Path(directory) / "features"
    done = folder / "done.json"
    if not done.is_file():
        raise DataError(f"{directory} has no finished features; {again('prepare')}")
    return {key: load_track(folder / f"{key}.safetensors") for key in json.loads(done.read_text("utf-8"))["songs"]}


def save_track(path: Path, track: Track, mark: str = "") -> None:
    """Write a track atomically; ``mark`` identifies what it was made from."""
    from safetensors.numpy import save_file

    about = {
        "names": track.names,
        "sections": [asdict(section) for section in track.sections],
        "duration": track.duration,
        "tempo": track.tempo,
        "confidence": track.confidence,
    }
    arrays = {"frames": track.frames, "beats": track.beats, "downbeats": track.downbeats}
    with atomic_path(path) as temporary:
        contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        save_file(contiguous, temporary, {"mark": mark, "about": json.dumps(about)})


def load_track(path: Path) -> Track:
    """Read a track that ``save_track`` wrote; DataError if the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as tensors:
            about = json.loads(tensors.metadata()["about"])
            arrays = {name: tensors.get_tensor(name) for name in ("frames", "beats", "downbeats")}
        sections = tuple(Section(**section) for section in about.pop("sections"))
        return Track(**arrays, **about, sections=sections)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged ({error}); {again('prepare')}") from error


def _numbered(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}_{number:02d}": column for number, column in enumerate(values.T)}


def _position(sections: list[Section], frames: int) -> dict[str, np.ndarray]:
    """Where each frame is in its section, in seconds (log(1 + s)), and in the song, as a share."""
    middles = np.arange(frames) + 0.5
    starts = np.array([section.start for section in sections])
    ends = np.array([section.end for section in sections])
    here = np.clip(np.searchsorted(starts, middles, side="right") - 1, 0, len(starts) - 1)
    return {
        "section_age": np.log1p(np.maximum(middles - starts[here], 0.0)),
        "section_left": np.log1p(np.maximum(ends[here] - middles, 0.0)),
        "song_position": middles / frames,
    }


def _tagger_file(song: Song, settings: SongFeatureSettings) -> Path | None:
    if settings.tagger is None:
        return None
    found = [path for suffix in ("csv", "npy") if (path := Path(settings.tagger) / f"{song.id}.{suffix}").is_file()]
    if len(found) != 1:
        what = "both a CSV and an npy file" if found else "neither a CSV nor an npy file"
        raise DataError(f"{settings.tagger} has {what} of song {song.id!r}; expected one of them for every song.")
    return found[0]


def _mark(song: Song, content: str, settings: SongFeatureSettings) -> str:
    """Hash of everything that the features of a song depend on."""
    tagger = _tagger_file(song, settings)
    tags = content_hash(tagger) if tagger else None
    measured = (_VERSION, settings.mel_bands, settings.novelty_seconds, settings.structure, tags)
    return fingerprint(measured, content)


def _mark_of(path: Path) -> str | None:
    """The mark of a file that is there and whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as tensors:
            return (tensors.metadata() or {}).get("mark")
    except (OSError, SafetensorError):
        return None


def _measure_song(song: Song, *, folder: Path, settings: SongFeatureSettings, marks: dict[str, str]) -> None:
    try:
        track = analyse(song.audio, settings=settings, tagger=_tagger_file(song, settings))
    except SeqkdError as error:
        raise type(error)(f"Song {song.id!r}: {error}") from error
    save_track(folder / f"{song.id}.safetensors", track, marks[song.id])
