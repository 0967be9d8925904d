"""Made-up speech: phrases spoken by espeak-ng in many voices, recorded in made-up rooms with noise.

Training, development and test sets share no voice. The corpus depends on the settings alone, not on how many
jobs made it; it can be interrupted and goes on where it stopped. espeak-ng is GPL-3 software, so it runs in
worker processes of its own (``espeak_voices_worker``) and only audio comes back.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqkd.corpora.corpus import Ledger, check_keys, check_sets, derive, interval, plain
from seqkd.corpora.speech.acoustics import NOISES
from seqkd.corpora.speech.espeak_phonemes import phonemes_of
from seqkd.corpora.speech.espeak_voice_list import ACCENTS, DEFAULT_ACCENTS, DEFAULT_VOICES, check_voices
from seqkd.corpora.speech.phrases import grammar_digest, make_phrase, phrase_lengths
from seqkd.data.kaldi import Utterance
from seqkd.errors import ConfigError, DataError
from seqkd.settings import number, one_of
from seqkd.uptodate import fingerprint

_VERSION = 2  # raise it when the same settings give other audio

_SET_KEYS = ("utterances", "split", "snr_db", "reverb", "rt60", "noises", "text", "transcripts")
_TALKERS = 4  # behind a babble: with fewer, single words stand out and compete with the phrase


def _check_base_set(name: str, settings: dict[str, Any], text: dict[str, Any], voices: Mapping[str, list[str]]) -> dict:
    """Return the settings of a set with all defaults filled in."""
    what = f"Set {name!r}"
    for key in ("utterances", "split"):
        if key not in settings:
            raise ConfigError(f"{what} has no {key!r}.")
    if settings["split"] not in voices:
        raise ConfigError(f"{what}: split is {settings['split']!r}, expected one of {', '.join(voices)}.")
    text = settings.get("text") or text
    check_keys(f"{what}: text", text, ("vocabulary", "words"))
    vocabulary = text.get("vocabulary", "commands")
    snr_db = settings.get("snr_db")
    noises = settings.get("noises", [*NOISES, "babble"])
    unknown = sorted(set(noises) - {*NOISES, "babble"})
    if unknown or not noises:
        raise ConfigError(f"{what}: noises are {noises!r}, expected some of {', '.join(NOISES)}, babble.")
    return {
        "utterances": int(number(f"{what}: utterances", settings["utterances"], 1, 999_999)),
        "split": settings["split"],
        "snr_db": None if snr_db is None else interval(f"{what}: snr_db", snr_db, -30, 100),
        "reverb": number(f"{what}: reverb", settings.get("reverb", 0.0), 0, 1),
        "rt60": interval(f"{what}: rt60", settings.get("rt60", [0.1, 0.6]), 0.01, 5),
        "noises": noises,
        "vocabulary": vocabulary,
        "words": interval(f"{what}: text.words", text.get("words", [*phrase_lengths(vocabulary)]), 1, 100),
        "transcripts": bool(settings.get("transcripts", True)),
    }


class _Planner:
    """Draws what is said in an utterance, by whom, and how it is recorded: all that a worker needs."""

    def __init__(
        self,
        seed: int,
        sample_rate: int,
        voices: Mapping[str, list[str]],
        accents: list[str],
        rates: tuple[int, int],
    ) -> None:
        self.seed, self.sample_rate = seed, sample_rate
        self.voices, self.accents, self.rates = voices, accents, rates

    def _speech(self, rng: random.Random, settings: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Return a request to the synthesiser and the speaker's id."""
        accent, variant = rng.choice(self.accents), rng.choice(self.voices[settings["split"]])
        words = settings["words"]
        request = {
            "text": make_phrase(settings["vocabulary"], rng, (int(words[0]), int(words[1]))),
            "voice": f"gmw/{ACCENTS[accent]}+{variant}",
            "rate": rng.randint(*self.rates),
            "pitch": rng.randint(30, 70),
            "range": rng.randint(30, 70),
            "seed": rng.randrange(1, 2**31),
        }
        return request, f"{accent}{variant.lower()}"

    def plan(self, name: str, settings: dict[str, Any], index: int, folder: Path) -> tuple[Utterance, dict[str, Any]]:
        """Return utterance number ``index`` of a set, and the job that makes its audio."""
        # A generator of its own for every utterance: a set can grow without changing what it has.
        rng = random.Random(f"{self.seed} {name} {index}")
        speech, speaker = self._speech(rng, settings)
        snr_db = settings["snr_db"]
        conditions = {
            "noise": None if snr_db is None else rng.choice(settings["noises"]),
            "snr_db": 0.0 if snr_db is None else rng.uniform(*snr_db),
            "rt60": rng.uniform(*settings["rt60"]) if rng.random() < settings["reverb"] else None,
            "drr_db": rng.uniform(-2.0, 10.0),
            "level_db": rng.uniform(-34.0, -18.0),
            "lead": rng.uniform(0.1, 0.4),
            "trail": rng.uniform(0.1, 0.4),
        }
        babble = conditions["noise"] == "babble"
        talkers = [self._speech(rng, settings)[0] for _ in range(_TALKERS)] if babble else []
        key = f"{speaker}-{name}{index:06d}"
        utterance = Utterance(key, folder / f"{key}.flac", speaker, speech["text"])
        job = {
            "id": key,
            "path": str(utterance.audio),
            "sample_rate": self.sample_rate,
            "seed": rng.randrange(2**63),
            "speech": speech,
            "talkers": talkers,
            "conditions": conditions,
        }
        return utterance, job


def as_phonemes(made: Mapping[str, list[Utterance]], accents: list[str]) -> dict[str, list[Utterance]]:
    """The same utterances with espeak-ng's phonemes in the speaker's accent as their transcripts."""
    accent_of = {u.speaker: next(a for a in accents if u.speaker.startswith(a)) for us in made.values() for u in us}
    texts: dict[str, set[str]] = {}
    for utterance in (one for utterances in made.values() for one in utterances):
        texts.setdefault(f"gmw/{ACCENTS[accent_of[utterance.speaker]]}", set()).add(utterance.text)
    found = phonemes_of(texts)
    spelled = lambda u: found[f"gmw/{ACCENTS[accent_of[u.speaker]]}"][u.text]  # noqa: E731
    return {name: [replace(one, text=spelled(one)) for one in utterances] for name, utterances in made.items()}


def _start_worker(module: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    # One thread each: there are as many workers as wanted already, and forking beside threads is unsafe.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run_jobs(
    jobs: list[dict[str, Any]],
    nj: int,
    progress: Callable[[int], object],
    module: str = "seqkd.corpora.speech.espeak_voices_worker",
) -> None:
    """Have ``nj`` worker processes make the audio of all ``jobs``.

    Args:
        jobs: Each with an ``id``, and what else the worker needs.
        nj: How many workers at most.
        progress: Called after each job with its ``count``, 1 if it has none.
        module: What a worker runs: it answers a JSON job a line with a JSON answer a line.

    Raises:
        DataError: A worker could not make an utterance.
    """
    todo: Iterator[dict[str, Any]] = iter(jobs)
    lock, stop = threading.Lock(), threading.Event()

    def serve(worker: subprocess.Popen[str]) -> None:
        assert worker.stdin is not None and worker.stdout is not None
        while not stop.is_set():
            with lock:
                job = next(todo, None)
            if job is None:
                return
            try:
                worker.stdin.write(json.dumps(job) + "\n")
                worker.stdin.flush()
                line = worker.stdout.readline()
            except OSError:
                line = ""
            if stop.is_set():
                return
            answer = json.loads(line) if line else {"error": "the worker process ended"}
            if "error" in answer:
                raise DataError(f"Utterance {job['id']!r} could not be made: {answer['error']}.")
            with lock:
                progress(job.get("count", 1))

    workers = [_start_worker(module) for _ in range(max(1, min(nj, len(jobs))))]
    pool = ThreadPoolExecutor(len(workers))
    try:
        for future in as_completed([pool.submit(serve, worker) for worker in workers]):
            future.result()
    finally:
        stop.set()
        for worker in workers:
            worker.terminate()
        pool.shutdown()
        for worker in workers:
            worker.communicate()


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    seed: int,
    sets: Mapping[str, Any],
    text: Mapping[str, Any] | None = None,
    sample_rate: int = 16000,
    voices: Mapping[str, Any] | None = None,
    accents: Any = DEFAULT_ACCENTS,
    rate: Any = (130, 230),
    spelling: str = "words",
) -> None:
    """Make the corpus: audio in ``<data_dir>/audio/<set>/``, data directories in ``<data_dir>/<set>/``.

    What is there and was made from the same settings is kept.

    Args:
        data_dir: Where to put it.
        nj: Worker processes; the result does not depend on it.
        seed: Decides everything that is random.
        sets: Settings by set name. A set is either made, with ``utterances`` (count), ``split`` (whose voices
            speak), ``snr_db`` ([least, most]; null: no noise), ``reverb`` (probability of a room), ``rt60``
            ([least, most] in s), ``noises`` (some of white, pink, brown, hum, babble), ``text`` (for the
            corpus's own) and ``transcripts`` (false: no ``text``); or it is derived, with ``subset_of`` (a
            set), ``without`` (a set whose utterances are left out), ``utterances`` and ``transcripts``; it
            shares the audio files.
        text: ``vocabulary`` (digits, commands or words1000) and ``words`` ([fewest, most] a phrase).
        sample_rate: In Hz.
        voices: espeak-ng variants by split; ``DEFAULT_VOICES`` if None.
        accents: Some of ``ACCENTS``.
        rate: Slowest and fastest speech, in words a minute.
        spelling: of transcripts: "words"; or "phonemes", espeak-ng's names of those it speaks, as if they were words.
            The audio is the same.

    Raises:
        ConfigError: A setting is wrong; the message names it and what was expected.
        DataError: An utterance could not be made.
    """
    from seqkd.progress import ProgressBar

    data_dir, sets, text = Path(data_dir), plain(sets), plain(text or {})
    voices, accents = plain(voices or DEFAULT_VOICES), plain(accents)
    order = check_sets(sets, _SET_KEYS)
    espeak = check_voices(voices, accents)
    one_of(("words", "phonemes"), spelling=spelling)
    number("sample_rate", sample_rate, 8000, 48000)
    slowest, fastest = interval("rate", plain(rate), 80, 450)
    planner = _Planner(seed, sample_rate, voices, accents, (int(slowest), int(fastest)))

    base = {name: _check_base_set(name, sets[name], text, voices) for name in order if "subset_of" not in sets[name]}
    ledger = Ledger(data_dir)
    made: dict[str, list[Utterance]] = {}
    jobs: list[dict[str, Any]] = []
    # Old audio must never be kept with the transcripts of a changed grammar.
    maker = [_VERSION, grammar_digest(), espeak, seed, sample_rate, slowest, fastest, accents]
    for name, settings in base.items():
        # Neither the number of utterances nor the transcripts change what an utterance sounds like.
        audible = {key: value for key, value in settings.items() if key not in ("utterances", "transcripts")}
        mark = fingerprint(maker, voices[settings["split"]], audible)
        folder = ledger.begin_audio(name, mark)
        planned = [planner.plan(name, settings, index, folder) for index in range(settings["utterances"])]
        made[name] = [utterance for utterance, _ in planned]
        wanted = {utterance.audio.name for utterance in made[name]}
        there = {file.name for file in folder.iterdir()}
        for leftover in there - wanted:  # half-written files, or a set that was larger once
            (folder / leftover).unlink()
        jobs += [job for utterance, job in planned if utterance.audio.name not in there]
    if jobs:
        total = sum(len(utterances) for utterances in made.values())
        with ProgressBar(total=total, initial=total - len(jobs), desc="speech", unit="utt") as bar:
            run_jobs(jobs, nj, bar.update)
    if spelling == "phonemes":
        made = as_phonemes(made, accents)
    for name in order:
        if name not in base:
            made[name] = derive(name, sets[name], made, seed)
        ledger.write_set(name, made[name], bool(sets[name].get("transcripts", True)))
