"""The vocabulary of NIST's formats: what stands in a transcript and is no word.

``word;tag1;tag2``  a word with tags; ``\\;`` is a semicolon of the word
``word*``           a word (the mark is left from older formats)
``@``               no word: of an alternative, or by itself
``{a / b}``         alternatives, see `seqkd.scoring.lattice`
``(word)``          optionally deletable, where asked for
"""

from __future__ import annotations

import re

_IGNORED = re.compile("ignore_?time_?segment_?in_?scoring", re.IGNORECASE)
_PIECES = re.compile(r"([{}])")
_TAGGED = re.compile(r"((?:\\.|[^\\;])+);.*")
_TAGGED_INSIDE = re.compile(r"((?:\\.|[^\\;/])+);[^/]*")
_ESCAPED = re.compile(r"\\(.?)")
_SPECIAL = re.compile(r"[;*@\\]")


def is_ignored(words: str) -> bool:
    """Whether a segment of an stm file is not to be scored: ``IGNORE_TIME_SEGMENT_IN_SCORING``, in any spelling.

    As in sclite the mark counts wherever in the text it stands, in any case, with underscores or without.
    """
    return "ignore" in words.lower() and bool(_IGNORED.search(words))


def words_alone(text: str) -> str:
    """A transcript of NIST's formats without tags and marks; ``{ @ }`` stands for a bare ``@``."""
    if not _SPECIAL.search(text):
        return text
    depth, done = 0, []
    for piece in _PIECES.split(text):
        if piece in ("{", "}") and piece:
            depth += 1 if piece == "{" else -1
            done.append(piece)
        else:
            done += [_word(token, depth > 0) for token in piece.split()]
    return " ".join(done)


def _word(token: str, inside: bool) -> str:
    if ";" in token:
        token = _TAGGED_INSIDE.sub(r"\1", token) if inside else _TAGGED.sub(r"\1", token)
    if "\\" in token:
        token = _ESCAPED.sub(r"\1", token)
    if len(token) > 1 and token.endswith("*"):
        token = token[:-1]
    return "{ @ }" if token == "@" and not inside else token
