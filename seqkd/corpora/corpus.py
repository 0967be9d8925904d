"""What the made-up and the fetched corpora share: sets derived from sets, and what has been made already."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqkd.data.kaldi import Utterance, write_data_dir
from seqkd.errors import ConfigError, DataError
from seqkd.files import check_name, check_ours, write_json

DERIVED_KEYS = ("subset_of", "without", "utterances", "transcripts")


def plain(value: Any) -> Any:
    """Turn mappings and sequences of any kind (OmegaConf's, tuples) into dicts and lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def check_keys(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigError if a key is not known; ``what`` says whose keys they are."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"{what} has unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}.")


def number(what: str, value: Any, low: float, high: float) -> float:
    """Return ``value`` if it is a number from ``low`` to ``high``; else raise ConfigError about ``what``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"{what} is {value!r}, expected a number from {low:g} to {high:g}.")
    return value


def interval(what: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Return ``value`` as (least, most) within ``low`` to ``high``; else raise ConfigError about ``what``."""
    if not isinstance(value, list) or len(value) != 2:
        raise ConfigError(f"{what} is {value!r}, expected two numbers, the least and the most.")
    least, most = (number(what, item, low, high) for item in value)
    if least > most:
        raise ConfigError(f"{what} is {value!r}: the first number must not exceed the second.")
    return least, most


def fingerprint(*settings: Any) -> str:
    """Return a short digest of settings that JSON can hold."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def check_apart(sources: Iterable[Path], data_dir: Path, sets: Iterable[str]) -> None:
    """Raise DataError if an import would replace what it reads, or what we did not write, or cannot name a source.

    Args:
        sources: The files and folders that are read.
        data_dir: Where the sets are written to.
        sets: Their names.
    """
    replaced = {(data_dir / name).resolve() for name in sets}
    parents: dict[Path, Path] = {}
    read = list(sources)
    for source in read:
        check_name(source)
        if source.parent not in parents:
            parents[source.parent] = source.parent.resolve()
        # A link that lies there would be lost as well as a file there that a link from elsewhere leads to.
        named = [] if source.name in ("", "..") else [parents[source.parent] / source.name]
        for place in (*named, *([source.resolve()] if source.is_symlink() or not named else [])):
            folder = next((one for one in (place, *place.parents) if one in replaced), None)
            if folder is not None:
                raise DataError(
                    f"{source} lies in {folder}, which is replaced by the set of that name; name another data "
                    "directory by --data, or move the recordings elsewhere."
                )
    for folder in sorted(replaced):
        try:
            check_ours(folder)
        except DataError:
            above = next((one for one in read if one.is_dir() and folder.is_relative_to(one.resolve())), None)
            if above is None:
                raise
            raise DataError(
                f"{folder} lies in {above}, which is read, and would be replaced by the set of that name; name another "
                "data directory by --data."
            ) from None


def check_sets(
    sets: Mapping[str, dict[str, Any]],
    base_keys: Iterable[str],
    derived_keys: Iterable[str] = DERIVED_KEYS,
    count: str = "utterances",
) -> list[str]:
    """Check names and keys of all sets; returns the names, every set after those that it is made of.

    Args:
        sets: Settings by set name.
        base_keys: What a set may have that is made.
        derived_keys: What a set may have that is a part of another.
        count: The key that says how large such a part is.

    Raises:
        ConfigError: No sets, an unknown key, a subset of less than one, a set made of one that is not there or, in
            the end, of itself.
    """
    if not sets:
        raise ConfigError("The corpus has no sets; name at least one under `sets`.")
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ConfigError(f"Set {name!r} is in the end derived from itself ({' of '.join([*above, name])}).")
        if name in order:
            return
        settings = sets[name]
        if not isinstance(settings, dict):
            raise ConfigError(f"Set {name!r} is {settings!r}, expected settings.")
        derived = "subset_of" in settings
        check_keys(f"Set {name!r}", settings, derived_keys if derived else base_keys)
        if derived and settings.get(count) is not None:  # now, rather than when the set it is of has been made
            number(f"Set {name!r}: {count}", settings[count], 1, 999_999)
        for key in ("subset_of", "without"):
            if key in settings and settings[key] not in sets:
                raise ConfigError(f"Set {name!r}: {key} names {settings[key]!r}, which is not one of the sets.")
            if key in settings:
                visit(settings[key], (*above, name))
        order.append(name)

    for name in sets:
        if not name or not name.replace("_", "").replace("-", "").isalnum() or name == "audio":
            raise ConfigError(f"{name!r} cannot name a set; use letters, digits, '-' and '_', and not 'audio'.")
        visit(name, ())
    return order


def derive(
    name: str,
    settings: Mapping[str, Any],
    made: Mapping[str, list[Utterance]],
    seed: int,
    group: Callable[[Utterance], str] = lambda utterance: utterance.id,
) -> list[Utterance]:
    """Return the utterances of a derived set, all of them with their texts.

    ``subset_of`` names the set to take from, ``without`` a set whose utterances are left out, ``utterances``
    how many groups to take (the first of a shuffle by ``seed``: a smaller subset is part of a larger one).
    Utterances of one group (an utterance and its noisy copies) stay together.
    """
    base = made[settings["subset_of"]]
    excluded = {group(utterance) for utterance in made.get(settings.get("without", ""), [])}
    groups = sorted({group(utterance) for utterance in base} - excluded)
    wanted = settings.get("utterances")
    if wanted is not None:
        number(f"Set {name!r}: utterances", wanted, 1, len(groups))
        random.Random(f"{seed} subset {settings['subset_of']}").shuffle(groups)
        groups = groups[: int(wanted)]
    if not groups:
        raise ConfigError(
            f"Set {name!r} would be empty: {settings['without']!r} holds all of {settings['subset_of']!r}."
        )
    chosen = set(groups)
    return [utterance for utterance in base if group(utterance) in chosen]


class Ledger:
    """``corpus.json``: from which settings the audio and the data directories below it were made."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.file = data_dir / "corpus.json"
        self._first = not self.file.exists()
        try:
            known = json.loads(self.file.read_text(encoding="utf-8"))
            self._audio: dict[str, str] = dict(known["audio"])
            self._sets: dict[str, str] = dict(known["sets"])
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or not ours: everything is made anew
            self._audio, self._sets = {}, {}

    def _save(self) -> None:
        write_json(self.file, {"audio": self._audio, "sets": self._sets})

    def begin_audio(self, name: str, print_: str) -> Path:
        """Return the folder for the audio of a set, emptied if its files came from other settings.

        Raises:
            DataError: What is there, or in the set of that name, was not written by seqkd.
        """
        folder = self.data_dir / "audio" / name
        if name not in self._audio:
            check_ours(self.data_dir / name)
        if self._audio.get(name) != print_:
            # Of a record that is damaged it is not known which sets it named: what is there is taken to be theirs.
            if (self._first or (self._audio and name not in self._audio)) and folder.is_dir() and any(folder.iterdir()):
                raise DataError(
                    f"{folder} holds files that were not written by seqkd; its own audio is to go there; name another "
                    "data directory by --data, or move them elsewhere."
                )
            shutil.rmtree(folder, ignore_errors=True)
            self._audio[name] = print_
            self._sets.pop(name, None)
            self._first = False
            self._save()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write_set(self, name: str, utterances: list[Utterance], transcripts: bool) -> None:
        """Write the data directory of a set, unless the same one is there already."""
        if not transcripts:
            utterances = [replace(utterance, text=None) for utterance in utterances]
        print_ = fingerprint([[u.id, u.audio.name, u.speaker, u.text] for u in utterances])
        if self._sets.get(name) != print_ or not (self.data_dir / name / "wav.scp").exists():
            write_data_dir(self.data_dir / name, utterances)
            self._sets[name] = print_
            self._save()
