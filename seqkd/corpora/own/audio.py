"""A user's own recordings as the sets train, dev, test and unlabelled."""

from __future__ import annotations

import statistics
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqkd.corpora.corpus import check_apart, check_keys, plain
from seqkd.corpora.own.convert import convert_audio
from seqkd.corpora.own.damage import Looks, faults_of, list_damaged, settle
from seqkd.corpora.own.ids import make_ids, speaker_of
from seqkd.corpora.own.overlap import Found, check_files, check_overlap
from seqkd.corpora.own.sources import AUDIO_FOLDER, Source, read_source
from seqkd.corpora.own.splits import describe_characters, join_copies, split_by_hash, strangers
from seqkd.corpora.own.tables import COLUMNS, Item
from seqkd.corpora.speech.audio_sets import update_data_dir
from seqkd.data.kaldi import FORM, SLACK, Utterance, check_names
from seqkd.data.sound import WholeSound
from seqkd.errors import ConfigError, DataError
from seqkd.files import write_json
from seqkd.scoring.normalize import Normalizer
from seqkd.settings import number

_NOTHING = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad\u180e"))  # zero-width spaces and joiners, soft hyphens
_ROUNDING = 0.01  # seconds: tables round times to hundredths
_FEWEST_SPEAKERS = 3  # from which on speakers are kept together in one set


def _spaced(text: str) -> str:
    """A transcript in NFC, with single spaces and without characters that take no room: they are no part of a word.

    Those that join or part letters (Arabic and Indic scripts have such) stay, if there are letters beside them.
    """
    words = unicodedata.normalize(FORM, text.translate(_NOTHING)).split()
    return " ".join(word for word in words if any(unicodedata.category(one) not in ("Cf", "Cc") for one in word))


def _collect(
    source: Source, items: Sequence[Item], name: str, taken: dict[str, str], normalizer: Normalizer, drop_empty: bool
) -> list[Found]:
    """Return the utterances of a set of a source, texts normalised; ``taken`` gets their ids."""
    labelled = name != "unlabelled"
    if labelled and any(item.text is None for item in items):
        raise DataError(
            f"{source.path} ({source.kind}) has no transcripts; expected a column named one of "
            f"{', '.join(COLUMNS['text'])} (or its name in corpus.columns.text), in a Kaldi directory a file text."
        )
    if labelled:
        texts = normalizer([item.text for item in items])
        items = [replace(item, text=_spaced(text)) for item, text in zip(items, texts, strict=True)]
        empty = [item for item in items if not item.text]
        if empty and not drop_empty:
            once = "" if normalizer.signature == "none" else " once it is normalised"
            raise DataError(
                f"{empty[0].where}: the transcript is empty{once} ({len(empty)} such in all); write it, take the line "
                "out, or set corpus.drop_empty=true to leave all of them out."
            )
        if empty:
            print(f"{source.path}: {len(empty)} utterances without words are left out", file=sys.stderr)
            items = [item for item in items if item.text]
        if not items:
            raise DataError(f"{source.path}: no utterance has words; there is nothing to learn from.")
    found = []
    for item, key in zip(items, make_ids(source, items, name, taken), strict=True):
        text = item.text if labelled else None
        utterance = Utterance(key, item.audio, speaker_of(item) or key, text, item.start, item.end)
        found.append(Found(utterance, item.where))
        taken[key] = f"{name} ({item.where})"
    return found


def _without(sets: Mapping[str, list[Found]], faults: Mapping[Path, str]) -> dict[str, list[Found]]:
    """Return sets without utterances of damaged files. Raises DataError where nothing is left."""
    kept = {name: [one for one in found if one.utterance.audio not in faults] for name, found in sets.items()}
    empty = [name for name, found in kept.items() if sets[name] and not found]
    if empty:
        raise DataError(f"All audio of {empty[0]} is damaged; get it again.")
    return kept


def _timed(name: str, found: list[Found], headers: Mapping[Path, WholeSound]) -> list[Found]:
    """Hold times against files: the whole of one needs no copy, and a little past its end is the end, with a count.

    Raises:
        DataError: An utterance begins after its file ends, or ends well after it.
    """
    timed, clipped, most = [], 0, 0.0
    for one in found:
        u, seconds = one.utterance, headers[one.utterance.audio].seconds
        end = seconds if u.end is None else u.end
        over = end - seconds
        if u.start >= seconds or over > SLACK:
            raise DataError(
                f"{one.where}: the utterance lies from {u.start:g} to {end:g} s, but {u.audio} lasts {seconds:.2f} s; "
                "expected seconds (not milliseconds or samples) within the file."
            )
        if over > _ROUNDING:
            clipped, most = clipped + 1, max(most, over)
        whole = u.start == 0.0 and over > -_ROUNDING
        end = None if whole else min(end, seconds)
        timed.append(replace(one, utterance=replace(u, end=end)))
    if clipped:
        print(
            f"{name}: {clipped} utterances end after their files do, by {most:.3f} s at most; cut there",
            file=sys.stderr,
        )
    return timed


def _check_rates(sets: Mapping[str, list[Found]], headers: Mapping[Path, WholeSound], sample_rate: int) -> None:
    """Raise DataError if audio is not all mono and of the features' sample rate."""
    convert = "or set corpus.convert=true to have copies made"
    rates = Counter(header.sample_rate for header in headers.values())
    examples = {header.sample_rate: file for file, header in headers.items()}
    if len(rates) > 1:
        named = ", ".join(f"{count} files at {rate} Hz ({examples[rate]}, say)" for rate, count in rates.most_common())
        raise DataError(f"The audio has {len(rates)} sample rates: {named}; expected one: resample it, {convert}.")
    ((rate, _),) = rates.items()
    if rate != sample_rate:
        raise DataError(
            f"The audio has a sample rate of {rate} Hz, but features.sample_rate is {sample_rate}; "
            f"set features.sample_rate={rate}, {convert} at {sample_rate} Hz."
        )
    several = [file for file, header in headers.items() if header.channels != 1]
    if several:
        raise DataError(
            f"{several[0]} has {headers[several[0]].channels} channels ({len(several)} files have more than one); "
            f"expected one: mix them down, {convert}."
        )


def _describe(name: str, found: Sequence[Found], headers: Mapping[Path, WholeSound]) -> str:
    utterances = [one.utterance for one in found]
    seconds = [
        (headers[u.audio].seconds if u.end is None else min(u.end, headers[u.audio].seconds)) - u.start
        for u in utterances
    ]
    files = {u.audio for u in utterances}
    kinds = Counter((headers[file].sample_rate, headers[file].channels) for file in files)
    speakers = {u.speaker for u in utterances}
    said = ", ".join(f"{count} at {rate} Hz with {channels} channel(s)" for (rate, channels), count in kinds.items())
    who = f"{len(speakers)} speakers" if speakers != {u.id for u in utterances} else "speakers unknown"
    return (
        f"{name}: {len(utterances)} utterances, {who}, {sum(seconds) / 3600:.2f} h; {min(seconds):.2f} to "
        f"{max(seconds):.2f} s, median {statistics.median(seconds):.2f} s; files: {said}"
    )


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    train: Path | str,
    dev: float | Path | str = 0.05,
    test: float | Path | str = 0.1,
    unlabelled: Path | str | None = None,
    seed: int = 0,
    split_by: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    audio_root: Path | str | None = None,
    normalize: str = "",
    drop_empty: bool = False,
    sample_rate: int = 16000,
    convert: bool = False,
    channel: int | None = None,
    skip_damaged: bool = False,
    allow_overlap: bool = False,
) -> None:
    """Import a user's recordings as data directories ``<data_dir>/{train,dev,test}`` and maybe ``unlabelled``.

    What dev and test are: what a path names; else the folder of that name, if ``train`` has one for each split; else a
    share that is split off train by hash (see ``split_by_hash``): whole speakers, if at least three are known.

    Args:
        data_dir: Where to put the sets. Audio is used where it lies, unless it is converted or cut from recordings.
        nj: Files read at the same time.
        train: A Kaldi data directory, an audio folder, or a table (see ``own_sources.read_source``).
        dev: Share to split off, 0.001 to 0.5; or the same as ``train``.
        test: Likewise.
        unlabelled: The same, transcripts ignored; or any folder of audio.
        seed: Decides which utterances are split off.
        split_by: speaker, utterance, or None for what there is.
        columns: Names of the columns of tables: ``path``, ``text``, ``speaker``, ``id``; None for the usual names.
        audio_root: Folder that relative paths of tables start from; the table's if None.
        normalize: Steps of ``seqkd.scoring.normalize``, such as ``lower,no-punctuation``; none by default.
        drop_empty: Leave out utterances without words, which are an error otherwise.
        sample_rate: What the audio must have, in Hz.
        convert: Make copies, mono at ``sample_rate``, of audio that is not.
        channel: Which channel copies have, from 1; None for the average of all.
        skip_damaged: Leave out files that are damaged, and list them in ``damaged.txt``, rather than stop.
        allow_overlap: Go on though sets that were named share recordings, speakers or texts.

    Raises:
        ConfigError: A setting is wrong.
        DataError: Something is missing or broken; the message names file and line.
    """
    data_dir, columns = Path(data_dir), plain(columns or {})
    check_keys("corpus.columns", columns, COLUMNS)
    if split_by not in (None, "speaker", "utterance"):
        raise ConfigError(f"corpus.split_by is {split_by!r}; expected speaker, utterance or null.")
    number("corpus.sample_rate", sample_rate, 1000, 192000)
    if channel is not None:
        number("corpus.channel", channel, 1, 1000)
        if not convert:
            raise ConfigError("corpus.channel is for copies of one channel; set corpus.convert=true to have them made.")
    normalizer = Normalizer(normalize)
    root = Path(audio_root) if audio_root else None
    if root is not None and not root.is_dir():
        raise DataError(f"{root} (corpus.audio_root) is not a directory; mend the path.")
    wanted = {"train": train, "dev": dev, "test": test, **({"unlabelled": unlabelled} if unlabelled else {})}
    shares: dict[str, float] = {}
    sets: dict[str, list[Found]] = {}
    sources: dict[str, str] = {}
    taken: dict[str, str] = {}
    source = None
    for name, given in wanted.items():
        if name in ("dev", "test") and isinstance(given, (int, float)):
            if source is not None and name in source.items:
                sets[name] = _collect(source, source.items[name], name, taken, normalizer, drop_empty)
            else:
                shares[name] = number(f"corpus.{name}", given, 0.001, 0.5)
            continue
        if not isinstance(given, (str, Path)) or not str(given):
            raise ConfigError(
                f"corpus.{name} is {given!r}; expected a directory or a table, for instance corpus.{name}=mine.csv."
            )
        if Path(given).exists():
            check_apart([Path(given)], data_dir, wanted)
        one = read_source(Path(given), columns, root, labelled=name != "unlabelled", unpacked=data_dir / "unpacked")
        items = _items_of(one, name)
        check_apart([*one.folders, *(item.audio for part in one.items.values() for item in part)], data_dir, wanted)
        if one.kind.startswith(AUDIO_FOLDER) and data_dir.resolve().is_relative_to(one.path.resolve()):
            raise DataError(
                f"The data directory {data_dir} lies in {given}, of which all audio is read, copies that are made too; "
                "name another one by --data, or another folder."
            )
        sets[name] = _collect(one, items, name, taken, normalizer, drop_empty)
        sources[name] = f"{one.kind}: {given}"
        print(f"{given} is read as: {one.kind}", file=sys.stderr)
        source = one if name == "train" else source
    files = list(dict.fromkeys(one.utterance.audio for found in sets.values() for one in found))
    looks = Looks(data_dir)
    seen = looks.at(files, nj)  # kept even if the import is refused
    faults = faults_of(seen, mixed=convert, channel=channel)
    settle(faults, skip_damaged)
    sets = _without(sets, faults)
    headers = {file: look for file, look in seen.items() if isinstance(look, WholeSound)}
    sets = {name: _timed(name, found, headers) for name, found in sets.items()}
    check_files(sets)
    overlap = check_overlap(sets, headers, allow=allow_overlap)
    split_off = _split_off(sets, headers, shares, seed, split_by)
    overlap |= check_overlap(sets, headers, allow=allow_overlap, drawn=shares)
    sets = {name: sets[name] for name in ("train", "dev", "test", "unlabelled") if name in sets}

    for name, found in sets.items():
        print(_describe(name, found, headers), file=sys.stderr)
    utterances = {name: [one.utterance for one in found] for name, found in sets.items()}
    print(f"train has {describe_characters(utterances['train'])}", file=sys.stderr)
    print(f"text is normalised by: {normalizer.signature}", file=sys.stderr)
    _settle_strangers(utterances, "dev" in shares)
    if not convert:
        _check_rates(sets, headers, sample_rate)
    utterances = convert_audio(utterances, headers, data_dir / "audio", sample_rate, nj, channel)
    for name, chosen in utterances.items():
        check_names(data_dir / name, chosen)
    for name, chosen in utterances.items():
        update_data_dir(data_dir / name, chosen)
    origin = {"sources": sources, "split_off": split_off, "normalize": normalizer.signature, "seed": seed}
    origin |= {"overlap": overlap} if overlap else {}
    list_damaged(data_dir, faults, again=(data_dir / "origin.json").is_file())
    write_json(data_dir / "origin.json", {**origin, "utterances": {name: len(u) for name, u in utterances.items()}})


def _items_of(source: Source, name: str) -> list[Item]:
    """Return what a source has for a set. Raises DataError where it has splits, but none for this one."""
    found = source.items.get(name) or source.items.get("all")
    if found is None and name == "unlabelled":
        print(f"{source.path} has splits, but no unlabelled; its train is taken for that", file=sys.stderr)
        found = source.items["train"]
    if found is None:
        raise DataError(
            f"{source.path} (corpus.{name}) has no {name}; it has {', '.join(source.items)}: name one of its folders, "
            "or a share to be split off train."
        )
    return found


def _split_off(
    sets: dict[str, list[Found]],
    sounds: Mapping[Path, WholeSound],
    shares: Mapping[str, float],
    seed: int,
    split_by: str | None,
) -> dict[str, Any]:
    """Move what ``shares`` ask for from train to sets of their own; returns how that was done."""
    if not shares:
        return {}
    given = sets["train"]
    speakers = {one.utterance.speaker for one in given}
    told = speakers != {one.utterance.id for one in given}
    if split_by == "speaker" and not told:
        raise ConfigError(
            "corpus.split_by is speaker, but no speakers are given; name their column in corpus.columns.speaker."
        )
    by_speaker = split_by == "speaker" or (split_by is None and told and len(speakers) >= _FEWEST_SPEAKERS)
    groups = [one.utterance.speaker if by_speaker else one.utterance.id for one in given]
    joined = join_copies(given, sounds, groups)
    copies = sum(old != new for old, new in zip(groups, joined, strict=True))
    if copies:
        said = "are of speakers who share recordings with others" if by_speaker else "are copies of others or overlap"
        print(f"{copies} of {len(given)} utterances {said}: they stay in one set", file=sys.stderr)
    split = split_by_hash(joined, shares, seed)
    for name in ("train", *shares):
        sets[name] = [one for one, place in zip(given, split.sets, strict=True) if place == name]
    by = "speaker" if by_speaker else "utterance"
    print(f"{' and '.join(shares)} are split off by {by}", file=sys.stderr)
    for name, group in split.lent.items():
        print(
            f"{name}: no {by} falls to its share of {shares[name]:g}, so it is {group}; more data may change that",
            file=sys.stderr,
        )
    return {"by": by, "shares": dict(shares), "lent": split.lent, **({"copies": copies} if copies else {})}


def _settle_strangers(utterances: dict[str, list[Utterance]], split_off: bool) -> None:
    """Leave utterances with characters that train lacks out of a dev set that was split off; an error in the user's."""
    found = strangers(utterances["train"], utterances["dev"])
    if not found:
        return
    (first, characters), *_ = found.items()
    total = len(utterances["dev"])
    said = f"{len(found)} of {total} utterances of dev have characters that train lacks ({first}: {characters})"
    if not split_off or len(found) == total:
        raise DataError(
            f"{said}, so that no unit can stand for them: normalise the text (corpus.normalize=lower,no-punctuation), "
            "mend it, or take them out."
        )
    print(f"{said}; they are left out of dev", file=sys.stderr)
    utterances["dev"] = [utterance for utterance in utterances["dev"] if utterance.id not in found]
