"""The lines of the game Fish Fillets NG: Debian's packages, the dialogue files in Lua, and what can be learned from."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from seqkd.corpora.debian import fetch
from seqkd.data.kaldi import FORM
from seqkd.errors import DataError

LANGUAGES = ("cs", "nl")
_PACKAGES = ("fillets-ng-data", "fillets-ng-data-cs", "fillets-ng-data-nl")
_FOLDER = "fillets-ng-data"
_STRING = r'"((?:[^"\\]|\\.)*)"'
# dialogId(id, font, English) and, maybe on the next line, dialogStr(translation); the font is the role's colour.
_LINE = re.compile(
    rf"dialogId\s*\(\s*{_STRING}\s*,\s*{_STRING}\s*,\s*{_STRING}\s*\)\s*dialogStr\s*\(\s*{_STRING}\s*\)", re.DOTALL
)
_LETTERS = {
    "cs": frozenset("abcdefghijklmnopqrstuvwxyzáčďéěíňóřšťúůýž"),
    "nl": frozenset("abcdefghijklmnopqrstuvwxyzàáèéêëïöü"),
}
_VOWELS = frozenset("aeiouyáéíóúýěůàèêëïöü")
_SYLLABIC = {"cs": frozenset("rl"), "nl": frozenset()}  # strč prst skrz krk
_FASTEST = 22.0  # characters a second: a recording that has less than its text
_SLOWEST, _SHORT = 4.0, 3.0  # characters a second in more than so many seconds: a noise after the speech


@dataclass(frozen=True)
class Line:
    """A spoken line.

    Attributes:
        language: "cs" or "nl".
        level: the room of the game.
        name: within level and language.
        role: who speaks: the colour of the subtitles. Two levels may use a colour for different characters.
        text: what is said, in lower-case words.
        english: the line in the original script, as it is written there.
        audio: the recording.
        seconds: its length.
    """

    language: str
    level: str
    name: str
    role: str
    text: str
    english: str
    audio: Path
    seconds: float

    @property
    def speaker(self) -> str:
        """Language and role."""
        return f"{self.language}_{self.role}"

    @property
    def id(self) -> str:
        """Of the utterance: letters, digits, "_" and "-"."""
        return "-".join([self.speaker, *(re.sub(r"[^A-Za-z0-9]+", "_", part) for part in (self.level, self.name))])


def fetch_game(downloads: Path) -> Path:
    """Return the folder below ``downloads`` with scripts and recordings, fetching them (140 MB) if they are not there.

    Raises:
        DataError: They cannot be had; the message says what was tried and what to do.
    """
    return fetch(
        downloads,
        _PACKAGES,
        _FOLDER,
        complete=_missing,
        what="Fish Fillets recordings",
        or_else="the unpacked folders script and sound of the game",
    )


def _game(folder: Path) -> Path | None:
    """The folder that has ``script`` and ``sound``."""
    found = sorted(one.parent for one in folder.rglob("script") if (one.parent / "sound").is_dir())
    return found[0] if found else None


def _missing(folder: Path) -> str | None:
    game = _game(folder)
    for language in LANGUAGES:
        if game is None or next((game / "sound").rglob(f"{language}/*.ogg"), None) is None:
            return f"no recordings in the language {language} were in what was fetched"
    return None


def unescaped(literal: str) -> str:
    """What stands between the quotes of a Lua string, its escapes replaced."""
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), literal, flags=re.DOTALL)


def read_script(file: Path) -> list[tuple[str, str, str, str]]:
    """(name, font, English, translation) of every line of a dialogue file; DataError if it is not UTF-8."""
    try:
        content = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 ({error.reason} at byte {error.start}); fetch it again.") from error
    return [tuple(map(unescaped, found.groups())) for found in _LINE.finditer(content)]


def normalise(raw: str, language: str) -> str | None:
    """Return what is said in lower-case words (letters, and apostrophes within words); None if that is unclear.

    Digits, signs and letters of other alphabets can be read in several ways. "" if there are no words: only cries, of
    one letter drawn out or without a vowel.
    """
    text = unicodedata.normalize(FORM, raw).lower().replace("’", "'")
    if re.search(r"[\d%/@&=+*<>\[\]()]", text):
        return None
    words = [word.strip("'") for word in re.sub(r"[^\w']|_", " ", text).split()]
    words = [word for word in words if word]
    if any(letter not in _LETTERS[language] for word in words for letter in word.replace("'", "")):
        return None
    vowels = _VOWELS | _SYLLABIC[language]
    if any(re.search(r"(.)\1\1", word) for word in words) or not any(vowels & set(word) for word in words):
        return ""
    return " ".join(words)


def read_lines(folder: Path, max_seconds: float) -> tuple[list[Line], Counter[str]]:
    """Read the scripts and find the recordings.

    Args:
        folder: From ``fetch_game``.
        max_seconds: Longer recordings are left out.

    Returns:
        The usable lines sorted by id, and how many recordings were left out for what reason.

    Raises:
        DataError: There are no scripts, or no line of a language is usable.
    """
    import soundfile

    game = _game(folder)
    if game is None:
        raise DataError(f"{folder} has no scripts of the game; delete it to have them fetched again.")
    lines: dict[str, Line] = {}
    dropped: Counter[str] = Counter()
    for language in LANGUAGES:
        scripts = sorted((game / "script").rglob(f"*_{language}.lua"))
        for script in scripts:
            level = script.parent.relative_to(game / "script")
            for name, font, english, raw in read_script(script):
                audio = game / "sound" / level / language / f"{name}.ogg"
                if not audio.is_file():
                    continue  # a text that is only shown
                text, seconds = normalise(raw, language), soundfile.info(audio).duration
                if reason := unusable(text, seconds, max_seconds):
                    dropped[reason] += 1
                    continue
                role = font.removeprefix("font_") or "nobody"
                line = Line(language, level.as_posix(), name, role, text, english, audio, seconds)
                lines[line.id] = line
        if not any(line.language == language for line in lines.values()):
            raise DataError(
                f"{game} has no usable line in the language {language}; delete it to have it fetched again."
            )
    return [lines[key] for key in sorted(lines)], dropped


def unusable(text: str | None, seconds: float, max_seconds: float) -> str | None:
    """Why a recording is left out; None if it is not."""
    if text is None:
        return "with digits, signs or other alphabets"
    if not text or not seconds:
        return "without words"
    if seconds > max_seconds:
        return f"longer than {max_seconds:g} s"
    if len(text) > _FASTEST * seconds:
        return "with less speech than text"
    if seconds > _SHORT and len(text) < _SLOWEST * seconds:
        return "with more sound than text"
    return None
