"""Getting the Asterisk prompts and reading their list: from Debian's packages or the makers' archive."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from seqkd.corpora.debian import fetch
from seqkd.errors import DataError
from seqkd.files import unpack

_PACKAGES = ("asterisk-core-sounds-en-wav", "asterisk-core-sounds-en")
_ARCHIVE = "https://downloads.asterisk.org/pub/telephony/sounds/releases/asterisk-core-sounds-en-wav-1.6.1.tar.gz"
_LIST = "core-sounds-en.txt"
_FOLDER = "asterisk-core-sounds"

_DIGITS = "zero one two three four five six seven eight nine".split()  # noqa: SIM905 - one line, not ten
_SPOKEN = {
    # Said letter by letter.
    **{word: " ".join(word) for word in ("pbx", "iax", "mgcp", "usb", "ivr", "ip")},
    # Slips of the list.
    "exclaimation": "exclamation",
    "fourtieth": "fortieth",
    "indentified": "identified",
    "represenatives": "representatives",
    "thru": "through",
    "umute": "unmute",
    "witheld": "withheld",
    "xray": "x ray",
}


@dataclass(frozen=True)
class Prompt:
    """A prompt: id (letters, digits, ``_``), recording, and what is said in lower-case words."""

    id: str
    audio: Path
    text: str

    @property
    def words(self) -> int:
        """How many words are said."""
        return self.text.count(" ") + 1


def normalise(raw: str) -> str | None:
    """Return what is said in lower-case words (letters and apostrophes); "" if nothing, None if unclear.

    Notes in brackets are cut, single digits become words; larger numbers, signs and addresses are unclear,
    since they can be read in several ways.
    """
    text = re.sub(r"\[[^\]]*\]|\([^)]*\)|<[^>]*>", " ", raw).lower()
    text = re.sub(r"\b([ap])\.m\.", r"\1 m", text)
    if re.search(r"\w\.\w|\d\w|[^\W\d_]\d|[^\w\s.,:;'?!\"-]", text):
        return None
    words = re.sub(r"[^\w'\s]", " ", text).split()
    words = [_DIGITS[int(word)] if word.isdigit() else word.strip("'") for word in words]
    return " ".join(_SPOKEN.get(word, word) for word in words if word)


def _find_list(folder: Path) -> Path | None:
    found = sorted([*folder.rglob(_LIST), *folder.rglob(f"{_LIST}.gz")])
    return found[0] if found and next(folder.rglob("*.wav"), None) else None


def _from_archive(folder: Path) -> str | None:
    """Download and unpack the makers' archive; returns what went wrong, if anything did."""
    archive = folder / "sounds.tar.gz"
    try:
        with urllib.request.urlopen(_ARCHIVE, timeout=30) as source, archive.open("wb") as target:
            shutil.copyfileobj(source, target)
        unpack(archive, folder)
    except (OSError, tarfile.TarError) as error:
        return f"{_ARCHIVE} could not be had: {error}"
    archive.unlink()
    return None


def _missing(folder: Path) -> str | None:
    return None if _find_list(folder) else f"no recordings with a {_LIST} were in what was fetched"


def fetch_sounds(downloads: Path) -> Path:
    """Return the folder below ``downloads`` with recordings and list, fetching them if they are not there.

    Raises:
        DataError: They cannot be had; the message says what was tried and what to do.
    """
    return fetch(
        downloads,
        _PACKAGES,
        _FOLDER,
        complete=_missing,
        otherwise=[_from_archive],
        what="Asterisk prompts",
        or_else=f"the unpacked recordings with {_LIST}",
    )


def read_prompts(folder: Path, max_seconds: float) -> tuple[list[Prompt], Counter[str]]:
    """Read the list and find the recordings.

    Args:
        folder: From ``fetch_sounds``.
        max_seconds: Longer prompts are left out.

    Returns:
        The usable prompts sorted by id, and how many were left out for what reason.

    Raises:
        DataError: There is no list, a line of it cannot be read, or no prompt is usable.
    """
    import soundfile

    file = _find_list(folder)
    if file is None:
        raise DataError(f"{folder} has no recordings with a {_LIST}; delete it to have them fetched again.")
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    recordings: dict[str, Path] = {}
    for wav in sorted(folder.rglob("*.wav")):
        # Names in the list are relative to the folder of one speaker, such as digits/1.
        recordings.setdefault(f"{wav.parent.name}/{wav.stem}", wav)
        recordings.setdefault(wav.stem, wav)
    prompts: dict[str, Prompt] = {}
    dropped: Counter[str] = Counter()
    for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith(";"):
            continue
        name, colon, raw = line.partition(":")
        if not colon:
            raise DataError(f"{file}, line {number}: found {line!r}, expected a name, a colon and what is said.")
        text, audio = normalise(raw), recordings.get(name.strip())
        if text == "":
            dropped["without speech"] += 1
        elif text is None:
            dropped["with numbers, signs or addresses that can be read in several ways"] += 1
        elif audio is None:
            dropped["without a recording"] += 1
        elif soundfile.info(audio).duration > max_seconds:
            dropped[f"longer than {max_seconds:g} s"] += 1
        else:
            key = re.sub(r"[^A-Za-z0-9]+", "_", name.strip())
            prompts[key] = Prompt(key, audio, text)
    if not prompts:
        raise DataError(f"{file} names no prompt with a usable text and recording.")
    return [prompts[key] for key in sorted(prompts)], dropped
