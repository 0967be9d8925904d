"""Made-up command words: one word a clip, spoken by espeak-ng in many voices, with the times of its phones.

Training, development and test sets share no voice, in whatever accent it speaks. The corpus depends on the settings
alone, not on how many jobs made it; it can be interrupted and goes on where it stopped.

Licence: espeak-ng and its voices are GPL-3 software; it runs in processes of its own, and what it says is not covered
by its licence. The list of words is that of Speech Commands (Warden 2018), but none of its recordings are used.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqkd.corpora.class_sets import DERIVED_KEYS, LabelledClip, derive_clips, update_class_dir, update_classes
from seqkd.corpora.corpus import Ledger, check_sets, interval, plain
from seqkd.corpora.speech.acoustics import NOISES
from seqkd.corpora.speech.espeak_voice_list import ACCENTS, DEFAULT_ACCENTS, KEYWORD_VOICES, check_voices
from seqkd.corpora.speech.espeak_voices import run_jobs
from seqkd.errors import ConfigError
from seqkd.settings import number
from seqkd.uptodate import fingerprint

# fmt: off
WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)
# fmt: on
"""The 35 words of Speech Commands."""

_VERSION = 1  # raise it when the same settings give other audio
_WORKER = "seqkd.corpora.speech.espeak_keywords_worker"
_SET_KEYS = ("clips", "split", "snr_db", "reverb", "rt60", "noises")
_BATCH = 50  # clips that are made together: a process of their own costs as much as five of them
_TALKERS, _TALK = 4, 3  # how many talk in a babble, and how many words each


def _check_words(words: Any) -> list[str]:
    """Return the words; ``_`` stands for a space. Raises ConfigError about what cannot be a class."""
    if not isinstance(words, list) or len(words) < 2:
        raise ConfigError(f"words is {words!r}, expected a list of at least two.")
    seen: dict[str, str] = {}
    for word in words:
        if not isinstance(word, str) or not word.replace("_", "").replace("-", "").replace("'", "").isalpha():
            raise ConfigError(f"Word {word!r} cannot be a class; use letters, ' and -, and _ for a space.")
        other = seen.setdefault(word.lower(), word)
        if other != word:
            raise ConfigError(f"Words {other!r} and {word!r} differ in case alone; leave one out.")
    if len(seen) < len(words):
        raise ConfigError(f"Word {max(words, key=words.count)!r} is given twice; leave one out.")
    return words


def _check_base_set(name: str, settings: dict[str, Any], voices: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the settings of a set with all defaults filled in."""
    what = f"Set {name!r}"
    for key in ("clips", "split"):
        if key not in settings:
            raise ConfigError(f"{what} has no {key!r}.")
    if settings["split"] not in voices:
        raise ConfigError(f"{what}: split is {settings['split']!r}, expected one of {', '.join(voices)}.")
    snr_db, noises = settings.get("snr_db"), settings.get("noises", [*NOISES, "babble"])
    if not noises or set(noises) - {*NOISES, "babble"}:
        raise ConfigError(f"{what}: noises are {noises!r}, expected some of {', '.join(NOISES)}, babble.")
    return {
        "clips": int(number(f"{what}: clips", settings["clips"], 1, 999_999)),
        "split": settings["split"],
        "snr_db": None if snr_db is None else interval(f"{what}: snr_db", snr_db, -30, 100),
        "reverb": number(f"{what}: reverb", settings.get("reverb", 0.0), 0, 1),
        "rt60": interval(f"{what}: rt60", settings.get("rt60", [0.1, 0.6]), 0.01, 5),
        "noises": noises,
    }


class _WordPlanner:
    """Draws who says a word and how it is recorded."""

    def __init__(
        self, seed: int, words: list[str], voices: Mapping[str, list[str]], accents: list[str], rates: tuple[int, int]
    ) -> None:
        self.seed, self.words, self.voices, self.accents, self.rates = seed, words, voices, accents, rates

    def _speech(self, rng: random.Random, split: str, text: str) -> tuple[dict[str, Any], str, str]:
        """Return a request to the synthesiser, the speaker's id and the voice."""
        accent, variant = rng.choice(self.accents), rng.choice(self.voices[split])
        request = {
            "text": text.replace("_", " "),
            "voice": f"gmw/{ACCENTS[accent]}+{variant}",
            "rate": rng.randint(*self.rates),
            "pitch": rng.randint(30, 70),
            "range": rng.randint(30, 70),
            "seed": rng.randrange(1, 2**31),
        }
        return request, f"{accent}{variant.lower()}", variant.lower()

    def plan(self, name: str, settings: dict[str, Any], index: int, folder: Path) -> tuple[LabelledClip, dict]:
        """Return clip number ``index`` of a set, and what a worker needs to make it."""
        # A generator of its own for every clip: a set can grow without changing what it has.
        rng = random.Random(f"{self.seed} {name} {index}")
        word, split = self.words[index % len(self.words)], settings["split"]
        speech, speaker, voice = self._speech(rng, split, word)
        noise = None if settings["snr_db"] is None else rng.choice(settings["noises"])
        conditions = {
            "noise": noise,
            "snr_db": 0.0 if noise is None else rng.uniform(*settings["snr_db"]),
            "rt60": rng.uniform(*settings["rt60"]) if rng.random() < settings["reverb"] else None,
            "drr_db": rng.uniform(-2.0, 10.0),
            "level_db": rng.uniform(-34.0, -18.0),
        }
        talkers = [
            self._speech(rng, split, " ".join(rng.choices(self.words, k=_TALK)))[0]
            for _ in range(_TALKERS if noise == "babble" else 0)
        ]
        key = f"{speaker}-{name}{index:06d}"
        clip = LabelledClip(key, folder / f"{key}.flac", word, voice, speaker)
        request = {
            "id": key,
            "path": str(clip.path),
            "speech": speech,
            "talkers": talkers,
            "conditions": conditions,
            "place": rng.random(),
            "seed": rng.randrange(2**63),
        }
        return clip, request


def _plan_set(
    planner: _WordPlanner, name: str, settings: dict[str, Any], folder: Path, sample_rate: int, seconds: float
) -> tuple[list[LabelledClip], list[dict[str, Any]]]:
    """Return the clips of a set, and all the batches that make them."""
    planned = [planner.plan(name, settings, index, folder) for index in range(settings["clips"])]
    batches = []
    for begin in range(0, len(planned), _BATCH):
        batch = planned[begin : begin + _BATCH]
        batches.append(
            {
                "id": f"{batch[0][0].id} to {batch[-1][0].id}",
                "count": len(batch),
                "clips": [request for _, request in batch],
                # Its end is in the name: a last batch that grows is made again.
                "phones": str(folder / f"{begin:06d}-{begin + len(batch) - 1:06d}.json"),
                "sample_rate": sample_rate,
                "seconds": seconds,
            }
        )
    return [clip for clip, _ in planned], batches


def _with_phones(clips: list[LabelledClip], batches: list[dict[str, Any]]) -> list[LabelledClip]:
    """Return the clips with the times of their phones, which the workers noted."""
    phones: dict[str, list] = {}
    for batch in batches:
        phones |= json.loads(Path(batch["phones"]).read_text(encoding="utf-8"))
    return [
        LabelledClip(c.id, c.path, c.label, c.group, c.speaker, None, tuple((s, e, p) for s, e, p in phones[c.id]))
        for c in clips
    ]


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    seed: int,
    sets: Mapping[str, Any],
    words: Any = WORDS,
    sample_rate: int = 16000,
    clip_seconds: float = 1.0,
    voices: Mapping[str, Any] | None = None,
    accents: Any = DEFAULT_ACCENTS,
    rate: Any = (130, 230),
) -> None:
    """Make the corpus: audio in ``<data_dir>/audio/<set>/``, sets (see ``class_sets``) in ``<data_dir>/<set>/``.

    What is there and was made from the same settings is kept. The group of a clip is its voice (espeak-ng's variant),
    its speaker that voice in one accent. ``phones.ctm`` has espeak-ng's names of phones (as in its rules, without
    stress), ``sil`` before and after the word.

    Args:
        data_dir: Where to put it.
        nj: Worker processes; the result does not depend on it.
        seed: Decides everything that is random.
        sets: Settings by set name. A set is either made, with ``clips`` (count, the same of every word), ``split``
            (whose voices speak), ``snr_db`` ([least, most]; null: no noise), ``reverb`` (probability of a room),
            ``rt60`` ([least, most] in s) and ``noises`` (some of white, pink, brown, hum, babble); or it is derived,
            with ``subset_of`` (a set), ``without`` (a set whose clips are left out) and ``clips`` (count, a smaller
            part being part of a larger one); it shares the audio files.
        words: The classes; ``_`` in a word is spoken as a space.
        sample_rate: In Hz.
        clip_seconds: Duration of every clip. A word that would be longer is spoken faster, and cut off if even the
            fastest speech is too long.
        voices: espeak-ng variants by split; ``KEYWORD_VOICES`` if None.
        accents: Some of ``ACCENTS``.
        rate: Slowest and fastest speech, in words a minute.

    Raises:
        ConfigError: A setting is wrong; the message names it and what was expected.
        DataError: A clip could not be made.
    """
    from seqkd.progress import ProgressBar

    data_dir, sets, words = Path(data_dir), plain(sets), _check_words(plain(words))
    voices, accents = plain(voices or KEYWORD_VOICES), plain(accents)
    order = check_sets(sets, _SET_KEYS, DERIVED_KEYS, "clips")
    espeak = check_voices(voices, accents)
    number("sample_rate", sample_rate, 8000, 48000)
    number("clip_seconds", clip_seconds, 0.2, 10)
    slowest, fastest = interval("rate", plain(rate), 80, 450)
    base = {name: _check_base_set(name, sets[name], voices) for name in order if "subset_of" not in sets[name]}

    planner = _WordPlanner(seed, words, voices, accents, (int(slowest), int(fastest)))
    ledger = Ledger(data_dir)
    made: dict[str, list[LabelledClip]] = {}
    batches: dict[str, list[dict[str, Any]]] = {}
    jobs: list[dict[str, Any]] = []
    maker = [_VERSION, _BATCH, espeak, seed, words, sample_rate, clip_seconds, slowest, fastest, accents]
    for name, settings in base.items():
        # The number of clips does not change what a clip sounds like.
        audible = {key: value for key, value in settings.items() if key != "clips"}
        folder = ledger.begin_audio(name, fingerprint(maker, voices[settings["split"]], audible))
        made[name], batches[name] = _plan_set(planner, name, settings, folder, sample_rate, clip_seconds)
        there = {file.name for file in folder.iterdir()}
        wanted = {clip.path.name for clip in made[name]} | {Path(batch["phones"]).name for batch in batches[name]}
        for leftover in there - wanted:  # half-written files, or a set that was larger once
            (folder / leftover).unlink()
        for batch in batches[name]:
            files = {Path(batch["phones"]).name, *(Path(clip["path"]).name for clip in batch["clips"])}
            if not files <= there:
                jobs.append(batch)
    if jobs:
        total, todo = sum(len(clips) for clips in made.values()), sum(job["count"] for job in jobs)
        with ProgressBar(total=total, initial=total - todo, desc="words", unit="clip") as bar:
            run_jobs(jobs, nj, bar.update, _WORKER)
    update_classes(data_dir, words)
    for name in order:
        if name in base:
            made[name] = _with_phones(made[name], batches[name])
        else:
            made[name] = derive_clips(name, sets[name], made, seed)
        update_class_dir(data_dir / name, made[name])
