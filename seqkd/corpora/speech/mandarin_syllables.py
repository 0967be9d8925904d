"""Recorded Mandarin syllables without an account: the voices of the input method gcin, by initial, final or tone.

1,200 syllables by one speaker and 1,158 of them by another, 44.1 kHz. They are divided into four folds that share no
base syllable (the syllable without its tone), so that a model cannot know an initial by the syllables it has met.

Licence, from the package's copyright file: the first speaker (``3.ogg``, Edward Der-Hua Liu) GPL-3 or LGPL-3, the
second (``5.ogg``, ChionMeilin with the voice of Chu Lo) CC-BY-3.0. They are fetched, never distributed with this.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd.corpora.class_sets import LabelledClip, update_class_dir, update_classes
from seqkd.corpora.corpus import Ledger
from seqkd.corpora.debian import fetch
from seqkd.data.splits import split_by_group
from seqkd.errors import DataError
from seqkd.files import atomic_path
from seqkd.settings import number, one_of
from seqkd.uptodate import fingerprint

TARGETS = ("initial", "final", "tone", "syllable")

_VERSION = 1  # raise it when the same settings give other audio
_PACKAGES = ("gcin-voice",)
_FOLDER = "gcin-voice"
_SPEAKERS = {"3.ogg": "liu", "5.ogg": "chulo"}
_FEWEST_GROUPS = 2  # of a class: what is in one group alone cannot be learned and tested

# Zhuyin to Pinyin, v standing for u with two dots. "none" is no initial; ih the vowel of zhi, chi, shi, ri, zi, ci, si.
# fmt: off
_INITIALS = {
    "ㄅ": "b", "ㄆ": "p", "ㄇ": "m", "ㄈ": "f", "ㄉ": "d", "ㄊ": "t", "ㄋ": "n", "ㄌ": "l", "ㄍ": "g", "ㄎ": "k",
    "ㄏ": "h", "ㄐ": "j", "ㄑ": "q", "ㄒ": "x", "ㄓ": "zh", "ㄔ": "ch", "ㄕ": "sh", "ㄖ": "r", "ㄗ": "z", "ㄘ": "c",
    "ㄙ": "s",
}
_FINALS = {
    "ㄚ": "a", "ㄛ": "o", "ㄜ": "e", "ㄝ": "eh", "ㄞ": "ai", "ㄟ": "ei", "ㄠ": "ao", "ㄡ": "ou", "ㄢ": "an", "ㄣ": "en",
    "ㄤ": "ang", "ㄥ": "eng", "ㄦ": "er",
    "ㄧ": "i", "ㄧㄚ": "ia", "ㄧㄛ": "io", "ㄧㄝ": "ie", "ㄧㄞ": "iai", "ㄧㄠ": "iao", "ㄧㄡ": "iou", "ㄧㄢ": "ian",
    "ㄧㄣ": "in", "ㄧㄤ": "iang", "ㄧㄥ": "ing",
    "ㄨ": "u", "ㄨㄚ": "ua", "ㄨㄛ": "uo", "ㄨㄞ": "uai", "ㄨㄟ": "uei", "ㄨㄢ": "uan", "ㄨㄣ": "uen", "ㄨㄤ": "uang",
    "ㄨㄥ": "ong",
    "ㄩ": "v", "ㄩㄝ": "ve", "ㄩㄢ": "van", "ㄩㄣ": "vn", "ㄩㄥ": "iong",
}
# fmt: on
_WITHOUT_VOWEL = ("zh", "ch", "sh", "r", "z", "c", "s")
NEUTRAL = "0"
"""The neutral tone, which 13 syllables have."""


@dataclass(frozen=True)
class Syllable:
    """A syllable: initial ("none" for none), final and tone ("1" to "4", or "0" for the neutral one).

    The final is None where a letter of Zhuyin is alone that stands for a consonant: it is read with a vowel that the
    name of the file does not tell.
    """

    initial: str
    final: str | None
    tone: str

    @property
    def base(self) -> str:
        """The syllable without its tone."""
        return f"{self.initial}-{self.final or 'letter'}"

    def label(self, target: str) -> str | None:
        """Its class; None if it has none."""
        if target == "initial":
            return self.initial
        if target == "tone":
            return self.tone if self.tone != NEUTRAL else None
        return self.final and (self.final if target == "final" else self.base)


def parse_syllable(name: str) -> Syllable | None:
    """Return the syllable that a folder of the package is named after; None if it is none.

    Names are Zhuyin and a digit: 2, 3, 4 for those tones, none for the first, 1 for the neutral one.
    """
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    if digits not in ("", "1", "2", "3", "4"):
        return None
    initial = _INITIALS.get(letters[:1], "none")
    rest = letters[1:] if initial != "none" else letters
    if rest and rest not in _FINALS:
        return None
    final = _FINALS[rest] if rest else ("ih" if initial in _WITHOUT_VOWEL else None)
    if initial == "none" and not rest:
        return None
    return Syllable(initial, final, {"": "1", "1": NEUTRAL}.get(digits, digits))


def _recordings(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the recordings by speaker and folder's name."""
    found = {}
    for file in sorted(folder.rglob("ogg/*/*.ogg")):
        if file.name in _SPEAKERS:
            found.setdefault((_SPEAKERS[file.name], file.parent.name), file)
    return found


def _missing(folder: Path) -> str | None:
    found = {speaker for speaker, name in _recordings(folder) if parse_syllable(name)}
    lacking = sorted(set(_SPEAKERS.values()) - found)
    return f"it has no recordings of {' and '.join(lacking)}" if lacking else None


def _write(source: Path, target: Path, sample_rate: int) -> None:
    import soundfile
    import soxr

    try:
        samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{source} cannot be read as audio ({error}); delete it to have all fetched again.") from error
    mono = soxr.resample(samples.mean(axis=1), rate, sample_rate)
    with atomic_path(target) as temporary:
        rounded = np.clip(np.round(mono * 32767), -32768, 32767).astype(np.int16)
        soundfile.write(temporary, rounded, sample_rate, "PCM_16", format="FLAC")


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    seed: int = 0,
    target: str = "initial",
    folds: int = 4,
    sample_rate: int = 16000,
    downloads: Path | str | None = None,
) -> None:
    """Make the set ``<data_dir>/all`` (see ``class_sets``) with its folds; audio in ``<data_dir>/audio/all/``.

    The group of a recording is its base syllable, for the target syllable its syllable with the tone. Classes of one
    group are left out (three finals and er); so are what has no class: the neutral tone for tones, letters that are
    read with an unknown vowel for finals and syllables.

    Args:
        data_dir: Where to put it.
        nj: Files written at the same time; the result does not depend on it.
        seed: Decides which groups are in which fold.
        target: What the classes are: initial (22), final (35), tone (4) or syllable (without tone).
        folds: How many; each class has about the same share of each.
        sample_rate: In Hz; the recordings have 44,100.
        downloads: Where the recordings are or will be; ``downloads`` beside ``data_dir`` if None.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The recordings cannot be had, or cannot be read.
    """
    from seqkd.progress import ProgressBar

    data_dir = Path(data_dir)
    one_of(TARGETS, target=target)
    number("folds", folds, 2, 20)
    number("sample_rate", sample_rate, 8000, 48000)
    sounds = fetch(
        Path(downloads) if downloads else data_dir.parent / "downloads",
        _PACKAGES,
        _FOLDER,
        complete=_missing,
        what="Mandarin syllables",
        or_else="its unpacked folder ogg",
    )
    dropped: Counter[str] = Counter()
    chosen: list[tuple[LabelledClip, Path]] = []
    ledger = Ledger(data_dir)
    folder = data_dir / "audio" / "all"
    for (speaker, name), source in _recordings(sounds).items():
        syllable = parse_syllable(name)
        label = syllable.label(target) if syllable else None
        if syllable is None or label is None:
            dropped["without a class"] += 1
            continue
        key = f"{speaker}-{syllable.base}{syllable.tone}"
        group = f"{syllable.base}{syllable.tone}" if target == "syllable" else syllable.base
        chosen.append((LabelledClip(key, folder / f"{key}.flac", label, group, speaker), source))
    groups: dict[str, set[str]] = defaultdict(set)
    for clip, _ in chosen:
        groups[clip.label].add(clip.group)
    lonely = {label for label, found in groups.items() if len(found) < _FEWEST_GROUPS}
    dropped["of classes with one group"] = sum(clip.label in lonely for clip, _ in chosen)
    chosen = sorted(((c, s) for c, s in chosen if c.label not in lonely), key=lambda pair: pair[0].id)
    clips = [clip for clip, _ in chosen]
    parts = split_by_group(
        clips,
        [clip.label for clip in clips],
        [clip.group for clip in clips],
        {str(fold): 1 / folds for fold in range(int(folds))},
        seed,
    )
    fold_of = {clip.id: int(fold) for fold, part in parts.items() for clip in part}
    clips = [LabelledClip(clip.id, clip.path, clip.label, clip.group, clip.speaker, fold_of[clip.id]) for clip in clips]

    # The audio of a recording depends on neither target nor folds, so that other targets share it.
    sizes = [[*key, file.stat().st_size] for key, file in _recordings(sounds).items()]
    ledger.begin_audio("all", fingerprint(_VERSION, sample_rate, sizes))
    there = {file.name for file in folder.iterdir()}
    for leftover in (name for name in there if name.startswith(".tmp-")):
        (folder / leftover).unlink()
    todo = [(source, clip.path, sample_rate) for clip, source in chosen if clip.path.name not in there]
    if todo:
        with (
            ThreadPoolExecutor(max(nj, 1)) as pool,
            ProgressBar(total=len(todo), desc="syllables", unit="file") as bar,
        ):
            try:
                for _ in pool.map(lambda job: _write(*job), todo):
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    update_class_dir(data_dir / "all", clips)
    classes = update_classes(data_dir, groups.keys() - lonely)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()) if count)
    print(
        f"{len(clips)} recordings of {len(classes)} {target}s by {len({clip.speaker for clip in clips})} speakers in "
        f"{int(folds)} folds; left out: {reasons or 'none'}",
        file=sys.stderr,
    )
