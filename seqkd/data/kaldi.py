"""Kaldi data directories, the contract between corpora and everything else.

A data directory holds tables, one entry a line, sorted by the first field as ``LC_ALL=C sort`` does:

=============  =================================================  ==================================
``wav.scp``    recording id (or utterance id) and an audio file   required
``utt2spk``    utterance id and speaker id                        required
``text``       utterance id and transcript                        absent: the set is unlabelled
``segments``   utterance id, recording id, start and end (s)      absent: one utterance a recording
``spk2utt``    speaker id and its utterance ids                   optional, must agree with utt2spk
``utt2dur``    utterance id and duration (s)                      optional
=============  =================================================  ==================================

A relative audio path is looked for from the data directory first, then from the current directory.
Commands in ``wav.scp`` (``sox ... |``) are refused: nothing that a data file says is executed, unless a user has seen
it and asks for that (``seqkd prepare --unpipe``).
"""

from __future__ import annotations

import itertools
import math
import os
import re
import shlex
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from seqkd.data.sound import DamagedSound, look_at
from seqkd.data.tables import Entry, Table, number, one_field, read_table, same_ids
from seqkd.errors import DataError
from seqkd.files import check_name, own_directory

FORM = "NFC"  # of all text, as seqkd.scoring compares it
SLACK = 0.5  # seconds a segment may reach past its recording: it is clipped, with a count
_ROUNDING = 0.01  # seconds of which nothing is said: tables round times to hundredths


@dataclass(frozen=True)
class Utterance:
    """One utterance of a data directory.

    Attributes:
        id: Utterance id, unique in its directory.
        audio: Audio file.
        speaker: Speaker id.
        text: Transcript, in Unicode's NFC, single spaces between words; None where the directory has no ``text``.
        start: Where the utterance begins in ``audio``, in seconds.
        end: Where it ends, in seconds; None for the end of the file.
    """

    id: str
    audio: Path
    speaker: str
    text: str | None
    start: float = 0.0
    end: float | None = None


def _check_spk2utt(file: Path, utt2spk: Table) -> None:
    speakers = read_table(file, "a speaker id and its utterance ids")
    seen: set[str] = set()
    for speaker, entry in speakers.items():
        for utterance in entry.value.split():
            found = utt2spk[utterance].value if utterance in utt2spk else None
            if found != speaker:
                said = f"says {found!r}" if found else "does not have that utterance"
                raise DataError(
                    f"{file}, line {entry.line}: utterance {utterance!r} is given to speaker {speaker!r}, "
                    f"but utt2spk {said}; make spk2utt anew from utt2spk, or delete it (it is optional)."
                )
            seen.add(utterance)
    for utterance, entry in utt2spk.items():
        if utterance not in seen:
            raise DataError(
                f"{file}: utterance {utterance!r} (line {entry.line} of utt2spk) is missing for speaker "
                f"{entry.value!r}; make spk2utt anew from utt2spk, or delete it (it is optional)."
            )


def _find_audio(directory: Path, file: Path, key: str, entry: Entry) -> Path:
    """Return the audio file of one line of wav.scp."""
    where = f"{file}, line {entry.line}"
    if entry.value.startswith("|") or entry.value.endswith("|"):
        raise DataError(
            f"{where}: {key!r} is a command ({entry.value!r}), expected an audio file; commands in data files are not "
            "executed. To see which there are, and have them write files once, run: seqkd prepare --unpipe "
            f"{shlex.quote(str(directory))}"
        )
    if archive := re.fullmatch(r"(.+\.ark):\d+(\[.*\])?", entry.value):
        raise DataError(
            f"{where}: {key!r} is a place in an archive ({archive[1]}, of Kaldi or ESPnet), expected an audio file; "
            "write a file an utterance, as ESPnet does without --audio-format flac.ark, and name those."
        )
    candidates = [directory / entry.value, Path(entry.value)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = " or ".join(dict.fromkeys(str(candidate) for candidate in candidates))
    raise DataError(f"{where}: the audio file of {key!r} is missing; looked for {looked}.")


def _read_segments(file: Path, audio: dict[str, Path], lenient: bool) -> dict[str, tuple[str, float, float | None]]:
    """Return recording id, start and end (seconds) of every utterance; no end where that is the recording's."""
    import soundfile

    segments: dict[str, tuple[str, float, float | None]] = {}
    durations: dict[str, float] = {}
    clipped: list[tuple[float, str]] = []
    what = "an utterance id, a recording id, a start and an end in seconds"
    for key, entry in read_table(file, what).items():
        where = f"{file}, line {entry.line}"
        fields = entry.value.split()
        if len(fields) != 3:
            raise DataError(f"{where}: found {1 + len(fields)} fields for {key!r}, expected four: {what}.")
        recording, start, end = fields[0], number(fields[1]), number(fields[2])
        if recording not in audio:
            raise DataError(f"{where}: recording {recording!r} of {key!r} is not in wav.scp; add it there.")
        if not start >= 0 or math.isnan(end):
            raise DataError(
                f"{where}: start {fields[1]!r} and end {fields[2]!r} of {key!r}, expected seconds from 0 on."
            )
        if lenient:
            durations.setdefault(recording, math.inf)
        elif recording not in durations:
            try:
                durations[recording] = soundfile.info(audio[recording]).duration
            except soundfile.SoundFileError as error:
                raise DataError(f"{where}: {audio[recording]} of {key!r} cannot be read: {error}.") from error
        if end == -1:  # Kaldi's way of saying: to the end
            end = durations[recording]
        if end <= start:
            raise DataError(f"{where}: segment {key!r} ends at {end:g} s, not after its start at {start:g} s.")
        over = end - durations[recording]
        if _ROUNDING < over <= SLACK:
            clipped.append((over, where))
        if over > SLACK:
            raise DataError(
                f"{where}: segment {key!r} ends at {end:g} s, past the end of recording {recording!r}, "
                f"which lasts {durations[recording]:.2f} s."
            )
        end = min(end, durations[recording])
        segments[key] = (recording, start, end if math.isfinite(end) else None)
    if clipped:
        over, where = max(clipped)
        warnings.warn(
            f"{file}: {len(clipped)} segments end after their recordings do, by {over:.3f} s at most ({where}); "
            "they are cut there.",
            stacklevel=3,
        )
    return segments


def read_data_dir(path: Path | str, *, lenient: bool = False) -> list[Utterance]:
    """Read and validate a data directory; returns its utterances sorted by id.

    Audio files must exist but are not opened, save for ``segments``; ``check_audio`` does that. A segment that ends at
    -1 goes to the end of its recording, and one that ends up to half a second after it is cut there, with a count.

    Args:
        path: The directory.
        lenient: Leave it to the caller to judge empty transcripts, which are "" then, and ends of segments; no audio
            is opened.

    Raises:
        DataError: Whatever is wrong, with file, line, what was found, what was expected and what to do.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise DataError(f"Data directory {directory} does not exist; expected a directory with wav.scp and utt2spk.")
    for name in ("wav.scp", "utt2spk"):
        if not (directory / name).is_file():
            raise DataError(f"{directory / name} is missing; a data directory needs wav.scp and utt2spk.")
    wav_file, utt2spk_file = directory / "wav.scp", directory / "utt2spk"
    wavs = read_table(wav_file, "an id and an audio file")
    utt2spk = read_table(utt2spk_file, "an utterance id and a speaker id")
    one_field(utt2spk, utt2spk_file, "an utterance id and a speaker id")
    audio = {key: _find_audio(directory, wav_file, key, entry) for key, entry in wavs.items()}

    segments_file = directory / "segments"
    segments: dict[str, tuple[str, float, float | None]] = {}
    if segments_file.exists():
        segments = _read_segments(segments_file, audio, lenient)
        as_table = read_table(segments_file, "a segment")
        same_ids(as_table, segments_file, utt2spk, utt2spk_file)
    else:
        same_ids(wavs, wav_file, utt2spk, utt2spk_file)

    texts: Table | None = None
    text_file = directory / "text"
    if text_file.exists():
        empty = "the transcript of {id!r} is empty; write it, or remove the utterance from every file"
        texts = read_table(text_file, "an utterance id and a transcript", empty, allow_empty=lenient)
        same_ids(texts, text_file, utt2spk, utt2spk_file)
    if (directory / "spk2utt").exists():
        _check_spk2utt(directory / "spk2utt", utt2spk)
    if (directory / "utt2dur").exists():
        _check_durations(directory / "utt2dur", utt2spk, utt2spk_file)

    _warn_about_prefixes(utt2spk, utt2spk_file)
    utterances = []
    for key, entry in utt2spk.items():
        recording, start, end = segments.get(key, (key, 0.0, None))
        text = unicodedata.normalize(FORM, " ".join(texts[key].value.split())) if texts else None
        utterances.append(Utterance(key, audio[recording], entry.value, text, start, end))
    return utterances


def _check_durations(file: Path, utt2spk: Table, utt2spk_file: Path) -> None:
    durations = read_table(file, "an utterance id and a duration in seconds")
    for key, entry in durations.items():
        if not number(entry.value) > 0:
            raise DataError(f"{file}, line {entry.line}: duration {entry.value!r} of {key!r}, expected seconds.")
    same_ids(durations, file, utt2spk, utt2spk_file)


def _warn_about_prefixes(utt2spk: Table, file: Path) -> None:
    odd = [key for key, entry in utt2spk.items() if not key.startswith(entry.value)]
    if odd:
        warnings.warn(
            f"{file}, line {utt2spk[odd[0]].line}: speaker id {utt2spk[odd[0]].value!r} is not a prefix of "
            f"utterance id {odd[0]!r} ({len(odd)} such lines); Kaldi's own tools may sort them wrongly.",
            stacklevel=3,
        )


def _check_file(file: Path, names: list[str], sample_rate: int) -> float | str:
    """Return the duration of an audio file in seconds, or what is wrong with it."""
    who = f"Utterance {names[0]!r}, {file}"
    try:
        found = look_at(file)
    except DamagedSound as fault:
        if fault.reason.startswith("cannot be read"):
            return f"{who}: {fault.reason}; the file is damaged or of an unknown format."
        return f"{who}: {fault.reason}; remove the utterance or write its audio again."
    if found.sample_rate != sample_rate:
        return (
            f"{who}: sample rate is {found.sample_rate} Hz, expected {sample_rate} Hz; resample the "
            "audio, or set the sample rate of the features to that of the audio."
        )
    if found.channels != 1:
        return f"{who}: has {found.channels} channels, expected one; mix them down or pick one."
    return found.seconds


def check_audio(
    utterances: Iterable[Utterance],
    sample_rate: int = 16000,
    nj: int = 1,
    progress: Callable[[int], object] | None = None,
) -> dict[str, float]:
    """Open every audio file, check header and samples; returns the duration of every utterance in seconds.

    Args:
        utterances: From ``read_data_dir``.
        sample_rate: What every file must have, in Hz.
        nj: Files checked at the same time.
        progress: Called with 1 after every file, for instance ``tqdm.update``.

    Raises:
        DataError: The first fault, naming utterance and file, and how many more there are.
    """
    utterances = list(utterances)
    names: dict[Path, list[str]] = {}
    for utterance in utterances:
        names.setdefault(utterance.audio, []).append(utterance.id)

    def check(file: Path) -> float | str:
        outcome = _check_file(file, names[file], sample_rate)
        if progress is not None:
            progress(1)
        return outcome

    with ThreadPoolExecutor(max(nj, 1)) as pool:
        outcomes = dict(zip(names, pool.map(check, names), strict=True))
    faults = [outcome for outcome in outcomes.values() if isinstance(outcome, str)]
    if faults:
        raise DataError(faults[0] + (f" ({len(faults)} files have faults in all.)" if len(faults) > 1 else ""))
    durations = {}
    for utterance in utterances:
        whole = float(outcomes[utterance.audio])
        end = whole if utterance.end is None else min(utterance.end, whole)
        if end <= utterance.start:
            raise DataError(
                f"Utterance {utterance.id!r}, {utterance.audio}: has no samples from {utterance.start:g} s."
            )
        durations[utterance.id] = end - utterance.start
    return durations


def check_names(directory: Path, utterances: Iterable[Utterance]) -> None:
    """Raise DataError about the first id, speaker or audio file, if any, that no table of the directory could name."""
    for utterance in utterances:
        for what, value in (("id", utterance.id), ("speaker", utterance.speaker)):
            if len(value.split()) != 1 or value != value.strip():
                raise DataError(
                    f"Utterance {utterance.id!r}, {utterance.audio}: its {what} is {value!r}; expected one word, since "
                    "tables are parted by white space: rename it."
                )
        check_name(utterance.audio)
        name = os.path.relpath(utterance.audio, directory.resolve())
        if name != name.strip() or "\n" in name or "\r" in name or name.startswith("|") or name.endswith("|"):
            raise DataError(
                f"Utterance {utterance.id!r}: the audio file {name!r} has a line break, white space at an end or a bar "
                "at an end, which no line of wav.scp can have; rename it."
            )


def write_data_dir(
    path: Path | str, utterances: Iterable[Utterance], durations: Mapping[str, float] | None = None
) -> None:
    """Write a data directory; it appears whole, in place of an older one of that name that was written so, too.

    Audio paths are written relative to the directory, so that it can be moved together with its audio.

    Args:
        path: The directory.
        utterances: Each with a text, or none of them (an unlabelled set); whole files, no segments.
        durations: Seconds by utterance id, for ``utt2dur``.

    Raises:
        DataError: No utterances, an id twice, an id or a name that no table can have, texts for some only; or what is
            there was not written by seqkd.
    """
    directory = Path(path).resolve()
    utterances = sorted(utterances, key=lambda utterance: utterance.id)
    if not utterances:
        raise DataError(f"Data directory {path} would be empty: no utterances to write.")
    ids = [utterance.id for utterance in utterances]
    for left, right in itertools.pairwise(ids):
        if left == right:
            raise DataError(f"Data directory {path} would have utterance id {left!r} twice.")
    unlabelled = [utterance.id for utterance in utterances if utterance.text is None]
    if unlabelled and len(unlabelled) < len(utterances):
        raise DataError(f"Data directory {path}: utterance {unlabelled[0]!r} has no text, but others have.")
    segmented = [utterance.id for utterance in utterances if utterance.start != 0.0 or utterance.end is not None]
    if segmented:
        raise DataError(f"Data directory {path}: utterance {segmented[0]!r} is a segment; write its audio to a file.")

    check_names(directory, utterances)
    broken = next((u.id for u in utterances if u.text is not None and ("\n" in u.text or "\r" in u.text)), None)
    if broken is not None:
        raise DataError(f"Data directory {path}: the transcript of {broken!r} has a line break; write it on one line.")
    speakers: dict[str, list[str]] = {}
    for utterance in utterances:
        speakers.setdefault(utterance.speaker, []).append(utterance.id)
    tables = {
        "wav.scp": [f"{u.id} {os.path.relpath(u.audio, directory)}" for u in utterances],
        "utt2spk": [f"{u.id} {u.speaker}" for u in utterances],
        "spk2utt": [f"{speaker} {' '.join(speakers[speaker])}" for speaker in sorted(speakers)],
    }
    if not unlabelled:
        tables["text"] = [f"{u.id} {u.text}" for u in utterances]
    if durations is not None:
        tables["utt2dur"] = [f"{key} {durations[key]:.4f}" for key in ids]

    with own_directory(directory) as temporary:
        for name, lines in tables.items():
            (temporary / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
