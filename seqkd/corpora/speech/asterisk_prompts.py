"""Recorded human speech without an account: the telephone prompts of the Asterisk exchange.

568 prompts read by one speaker, 25 minutes at 8 kHz, with a list of what is said (CC-BY-SA 3.0). They are
split by text, so that no text and hardly any half sentence occurs in two splits; copies at other speeds, in
made-up rooms and with noise make more of the training prompts.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.corpora.corpus import Ledger, check_keys, check_sets, derive, interval, plain
from seqkd.corpora.speech.acoustics import NOISES, Conditions, record
from seqkd.corpora.speech.asterisk_sounds import Prompt, fetch_sounds, read_prompts
from seqkd.data.kaldi import Utterance
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path
from seqkd.settings import number
from seqkd.uptodate import fingerprint

_VERSION = 1  # raise it when the same settings give other audio
_SPEAKER = "allison"
_SET_KEYS = ("split", "copies", "original", "snr_db", "reverb", "rt60", "noises", "speed", "transcripts")
DEFAULT_SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}
_ALIKE = 0.7  # share of words in common, in order, from which on two prompts may not be in two splits
_FEWEST_WORDS = 3  # of a prompt outside the largest split
_LARGE = 0.5  # a group of prompts is large that has more than this part of the words of the smallest split


def cluster(prompts: list[Prompt]) -> list[list[Prompt]]:
    """Group prompts that are (nearly) the same, or where one of four words or more is part of the other."""
    from rapidfuzz.distance import Indel

    texts = sorted({prompt.text for prompt in prompts})
    words = [text.split() for text in texts]
    parent = list(range(len(texts)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    for left in range(len(texts)):
        for right in range(left):
            short, long = sorted((texts[left], texts[right]), key=len)
            part = short.count(" ") >= 3 and f" {short} " in f" {long} "
            if part or Indel.normalized_similarity(words[left], words[right]) >= _ALIKE:
                parent[root(left)] = root(right)
    groups: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(texts[root(texts.index(prompt.text))], []).append(prompt)
    return list(groups.values())


def split_prompts(prompts: list[Prompt], shares: Mapping[str, float], seed: int) -> dict[str, list[Prompt]]:
    """Split prompts so that every split gets about its share of all words; each split sorted by id.

    Single words and pairs, and groups that are large, go to the split with the largest share: most of the
    former occur nowhere else, so a model could not know them, and one of the latter could be a whole test
    set. The same prompts, shares and seed always give the same splits.
    """
    groups = cluster(sorted(prompts, key=lambda prompt: prompt.id))
    random.Random(f"{seed} splits").shuffle(groups)
    total = sum(prompt.words for prompt in prompts)
    limit = _LARGE * min(shares.values()) * total

    def reserved(group: list[Prompt]) -> bool:
        return min(p.words for p in group) < _FEWEST_WORDS or sum(p.words for p in group) > limit

    groups.sort(key=reserved, reverse=True)
    largest = max(shares, key=lambda split: shares[split])
    splits: dict[str, list[Prompt]] = {split: [] for split in shares}

    def lack(split: str) -> float:
        return shares[split] - sum(prompt.words for prompt in splits[split]) / total

    for group in groups:
        splits[largest if reserved(group) else max(shares, key=lack)] += group
    empty = [split for split, chosen in splits.items() if not chosen]
    if empty:
        raise DataError(f"Split {empty[0]!r} gets none of the {len(groups)} groups of prompts; give it a larger share.")
    return {split: sorted(chosen, key=lambda prompt: prompt.id) for split, chosen in splits.items()}


@dataclass(frozen=True)
class _Version:
    """One recording to write: a prompt, how it is changed, and where it goes."""

    utterance: Utterance
    source: Path
    speed: float
    conditions: Conditions
    seed: int


def _check_base_set(name: str, settings: dict[str, Any], shares: Mapping[str, float]) -> dict[str, Any]:
    """Return the settings of a set with all defaults filled in."""
    what = f"Set {name!r}"
    if settings.get("split") not in shares:
        raise ConfigError(f"{what}: split is {settings.get('split')!r}, expected one of {', '.join(shares)}.")
    noises, snr_db = settings.get("noises", [*NOISES]), settings.get("snr_db")
    if not noises or set(noises) - set(NOISES):
        raise ConfigError(f"{what}: noises are {noises!r}, expected some of {', '.join(NOISES)}.")
    checked = {
        "split": settings["split"],
        "copies": int(number(f"{what}: copies", settings.get("copies", 0), 0, 99)),
        "original": bool(settings.get("original", True)),
        "snr_db": None if snr_db is None else interval(f"{what}: snr_db", snr_db, -30, 100),
        "reverb": number(f"{what}: reverb", settings.get("reverb", 0.0), 0, 1),
        "rt60": interval(f"{what}: rt60", settings.get("rt60", [0.1, 0.6]), 0.01, 5),
        "noises": noises,
        "speed": interval(f"{what}: speed", settings.get("speed", [1.0, 1.0]), 0.5, 2),
        "transcripts": bool(settings.get("transcripts", True)),
    }
    if not checked["copies"] and not checked["original"]:
        raise ConfigError(f"{what} has neither originals nor copies.")
    return checked


def _plan(name: str, settings: dict[str, Any], prompts: list[Prompt], folder: Path, seed: int) -> list[_Version]:
    """Return the versions of all prompts of a set; number 0 is the recording itself, others are copies."""
    versions = []
    for prompt in prompts:
        for copy in range(0 if settings["original"] else 1, settings["copies"] + 1):
            rng = random.Random(f"{seed} {name} {prompt.id} {copy}")
            conditions = Conditions(lead=rng.uniform(0.1, 0.3), trail=rng.uniform(0.1, 0.3))
            speed = 1.0
            if copy:
                snr_db = settings["snr_db"]
                speed = rng.uniform(*settings["speed"])
                conditions = Conditions(
                    noise=None if snr_db is None else rng.choice(settings["noises"]),
                    snr_db=0.0 if snr_db is None else rng.uniform(*snr_db),
                    rt60=rng.uniform(*settings["rt60"]) if rng.random() < settings["reverb"] else None,
                    drr_db=rng.uniform(-2.0, 10.0),
                    level_db=rng.uniform(-34.0, -18.0),
                    lead=conditions.lead,
                    trail=conditions.trail,
                )
            key = f"{_SPEAKER}-{name}-{prompt.id}-{copy:02d}"
            utterance = Utterance(key, folder / f"{key}.flac", _SPEAKER, prompt.text)
            versions.append(_Version(utterance, prompt.audio, speed, conditions, rng.randrange(2**63)))
    return versions


def _write(version: _Version, sample_rate: int) -> None:
    import soundfile
    import soxr

    speech, found = soundfile.read(version.source, dtype="float32")
    # Read as if sampled at another rate, speech is faster and higher.
    speech = soxr.resample(speech, found * version.speed, sample_rate)
    audio = record(speech, version.conditions, sample_rate, np.random.default_rng(version.seed))
    with atomic_path(version.utterance.audio) as temporary:
        soundfile.write(temporary, np.round(audio * 32767).astype(np.int16), sample_rate, "PCM_16", format="FLAC")


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    seed: int,
    sets: Mapping[str, Any],
    sample_rate: int = 8000,
    shares: Mapping[str, float] | None = None,
    max_seconds: float = 20.0,
    downloads: Path | str | None = None,
) -> None:
    """Make the corpus: audio in ``<data_dir>/audio/<set>/``, data directories in ``<data_dir>/<set>/``.

    What is there and was made from the same settings is kept.

    Args:
        data_dir: Where to put it.
        nj: Files written at the same time; the result does not depend on it.
        seed: Decides everything that is random.
        sets: Settings by set name. A set is either made, with ``split``, ``original`` (false: only copies),
            ``copies`` (how many of each prompt) and, for the copies, ``speed`` ([slowest, fastest] factor),
            ``snr_db`` ([least, most]; null: no noise), ``noises`` (some of white, pink, brown, hum),
            ``reverb`` (probability of a room), ``rt60`` ([least, most] in s) and ``transcripts`` (false: no
            ``text``); or it is derived, with ``subset_of`` (a set), ``without`` (a set whose prompts are left
            out), ``utterances`` (how many prompts, each with all its copies) and ``transcripts``; it shares
            the audio files.
        sample_rate: In Hz; the recordings have 8000.
        shares: What part of all words every split gets; ``DEFAULT_SHARES`` if None.
        max_seconds: Longer prompts are left out.
        downloads: Where the recordings are or will be; ``downloads`` beside ``data_dir`` if None.

    Raises:
        ConfigError: A setting is wrong; the message names it and what was expected.
        DataError: The recordings cannot be had, or are not what they should be.
    """
    from seqkd.progress import ProgressBar

    data_dir, sets = Path(data_dir), plain(sets)
    order = check_sets(sets, _SET_KEYS)
    shares = plain(shares or DEFAULT_SHARES)
    check_keys("The shares", shares, DEFAULT_SHARES)
    sizes = {split: number(f"The share of {split!r}", share, 0.001, 1) for split, share in shares.items()}
    number("sample_rate", sample_rate, 8000, 48000)
    number("max_seconds", max_seconds, 0.1, 3600)
    base = {name: _check_base_set(name, sets[name], sizes) for name in order if "subset_of" not in sets[name]}

    sounds = fetch_sounds(Path(downloads) if downloads else data_dir.parent / "downloads")
    prompts, dropped = read_prompts(sounds, max_seconds)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    print(f"{len(prompts)} prompts; left out: {reasons or 'none'}", file=sys.stderr)
    splits = split_prompts(prompts, sizes, seed)

    ledger = Ledger(data_dir)
    made: dict[str, list[Utterance]] = {}
    versions: list[_Version] = []
    for name, settings in base.items():
        chosen = splits[settings["split"]]
        planned = _plan(name, settings, chosen, data_dir / "audio" / name, seed)
        mark = fingerprint(
            _VERSION,
            sample_rate,
            [[v.utterance.id, v.source.stat().st_size, v.speed, v.seed, asdict(v.conditions)] for v in planned],
        )
        folder = ledger.begin_audio(name, mark)
        made[name] = [version.utterance for version in planned]
        there = {file.name for file in folder.iterdir()}
        for leftover in there - {utterance.audio.name for utterance in made[name]}:
            (folder / leftover).unlink()
        versions += [version for version in planned if version.utterance.audio.name not in there]
    if versions:
        with (
            ThreadPoolExecutor(max(nj, 1)) as pool,
            ProgressBar(total=len(versions), desc="prompts", unit="utt") as bar,
        ):
            try:
                for _ in pool.map(lambda version: _write(version, sample_rate), versions):
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    for name in order:
        if name not in base:
            made[name] = derive(name, sets[name], made, seed, lambda utterance: utterance.id.rsplit("-", 1)[0])
        ledger.write_set(name, made[name], bool(sets[name].get("transcripts", True)))
