"""Mapping files: lines of ``source => target``, and NIST's ``.glm`` with its contexts.

Without contexts a rule maps whole words, the longest source first. A file that gives ``* format``, or a context other
than anywhere, is read as NIST's rfilter1 reads it: by characters, from the left, the first rule of the file that fits;
a rule without a context then fits inside words, too; with ``* case_sensitive = 'F'`` in any case.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from seqkd.errors import DataError
from seqkd.scoring.formats.reading import Reading

_RULE = re.compile(r"(?P<source>.*?)\s*=>\s*(?P<target>.*)")
_PART = r"\[[^\]]*\]|\"[^\"]*\"|[^\s\[\]_]*"
_CONTEXT = re.compile(rf"(?P<target>.*?)\s*/\s*(?P<left>{_PART})\s*_+\s*(?P<right>{_PART})\s*")
_SETTING = re.compile(r"\*\s*(?P<name>\w+)\s*=?\s*[\"'](?P<value>[^\"']*)[\"']")
_MARKS = re.compile(r"([{}])")


@dataclass(frozen=True)
class MappingRule:
    """``source`` becomes ``target`` between ``left`` and ``right``."""

    source: str
    target: str
    left: str = ""
    right: str = ""


@dataclass
class MappingFile:
    """The rules of a file, in its order.

    Attributes:
        rules: all of them.
        nist: whether they are applied as by rfilter1.
        any_case: whether case makes no difference (NIST's only).
    """

    rules: list[MappingRule] = field(default_factory=list)
    nist: bool = False
    any_case: bool = False

    @property
    def words(self) -> dict[str, str]:
        """The rules that apply to whole words, in the order of the file."""
        return {rule.source: rule.target for rule in self.rules}

    @property
    def digest(self) -> str:
        """A hash of the rules, for the signature: two files of different rules have different ones."""
        if not self.nist:
            content = repr(sorted(self.words.items()))
        else:
            content = repr([self.any_case, *((r.source, r.target, r.left, r.right) for r in self.rules)])
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    @functools.cached_property
    def _by_first(self) -> dict[str, list[tuple[int, MappingRule]]]:
        """Rules by the first character of their source, in the order of the file; those after a space by their word."""
        index: dict[str, list[tuple[int, MappingRule]]] = {}
        for number, rule in enumerate(self.rules):
            index.setdefault(self._key(rule), []).append((number, rule))
        return index

    def _key(self, rule: MappingRule) -> str:
        source = self._fold(rule.source)
        whole = rule.left.endswith(" ") and (" " in source or rule.right.startswith(" "))
        return " " + source.split(" ", 1)[0] if whole and source[:1] != " " else source[:1]

    def _fold(self, text: str) -> str:
        # Of ASCII alone, as there: then no character changes its length.
        return text.translate(_LOWER) if self.any_case else text

    def apply(self, text: str) -> str:
        """Apply NIST's rules to one transcript; marks of alternatives are words by themselves."""
        text = " " + " ".join(_MARKS.sub(r" \1 ", text).split()) + " "
        folded, done, at = self._fold(text), [], 0
        while at < len(text):
            rules = self._by_first.get(folded[at], [])
            if at and folded[at - 1] == " ":
                whole = self._by_first.get(" " + folded[at : folded.index(" ", at)], []) if folded[at] != " " else []
                rules = sorted(rules + whole, key=lambda pair: pair[0]) if rules and whole else rules or whole
            for _, rule in rules:
                source, left, right = self._fold(rule.source), self._fold(rule.left), self._fold(rule.right)
                end = at + len(source)
                if folded.startswith(source, at) and folded.startswith(right, end) and folded[:at].endswith(left):
                    done.append(rule.target)
                    at = end
                    break
            else:
                done.append(text[at])
                at += 1
        return " ".join("".join(done).split())


_LOWER = {ord(upper): upper.lower() for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def read_mapping(path: Path | str, reading: Reading | None = None) -> MappingFile:
    """Read a mapping file.

    A line is ``source => target``, words in square brackets, in quotes or bare; the target may be empty, or hold
    ``{alternatives / like these}``. After the target may stand a context, ``/ [left] __ [right]``; ``[ ]`` on both
    sides is anywhere, between words. ``;;`` begins a comment, ``*`` a setting.

    Raises:
        DataError: a line is none of this; a source is given twice with two targets (of NIST's files, and in a
            lenient reading, the first holds, as there).
    """
    reading = reading or Reading()
    made, lines = MappingFile(), []
    for number, line in reading.lines(path):
        line = line.partition(";;")[0].strip()
        if line.startswith("*"):
            found = _SETTING.fullmatch(line)
            made.nist |= bool(found) and found["name"].lower() == "format"
            if found and found["name"].lower() == "case_sensitive":
                made.any_case = found["value"].upper().startswith("F")
        elif line:
            lines.append((number, line))
    rules = [(number, line, _rule(path, number, line)) for number, line in lines]
    made.nist |= any(_has_context(rule) for *_, rule in rules)
    known: dict[str, tuple[str, int]] = {}
    for number, _, rule in rules:
        if not made.nist:
            rule = MappingRule(" ".join(rule.source.split()), " ".join(rule.target.split()))
            first = known.setdefault(rule.source, (rule.target, number))
            if first[1] != number:
                if first[0] != rule.target:
                    fault = f"{path}, line {number}: {rule.source!r} is mapped a second time."
                    reading.depart(path, fault, "{} rules for what an earlier line maps, left out")
                continue
        made.rules.append(rule)
    if not made.rules:
        raise DataError(f"{path} holds no rules; expected on each line source => target.")
    return made


def _has_context(rule: MappingRule) -> bool:
    """Whether a rule fits at some places only; between spaces, or without saying, is anywhere."""
    return bool(rule.left.strip() or rule.right.strip()) or bool(rule.left) != bool(rule.right)


def _rule(path: Path | str, number: int, line: str) -> MappingRule:
    found = _RULE.fullmatch(line)
    if not found or not _bare(found["source"]).strip():
        raise DataError(f"{path}, line {number}: found {line!r}; expected source => target.")
    context = _CONTEXT.fullmatch(found["target"])
    if context is None:
        return MappingRule(_bare(found["source"]), _bare(found["target"]))
    left, right = _bare(context["left"]), _bare(context["right"])
    return MappingRule(_bare(found["source"]), _bare(context["target"]), left, right)


def _bare(text: str) -> str:
    """What is in brackets or quotes, or the text itself; a bracket that is not closed is left out."""
    text = text.strip()
    if text.startswith("[") and "]" not in text:
        return text[1:].strip()
    return text[1:-1] if len(text) > 1 and (text[0] + text[-1]) in ("[]", '""') else text


def map_words(rules: dict[str, str], text: str) -> str:
    """Replace runs of words, from the left, the longest source first; what was replaced is not looked at again."""
    longest = max((len(source.split()) for source in rules), default=0)
    words, done, at = text.split(), [], 0
    while at < len(words):
        for size in range(min(longest, len(words) - at), 0, -1):
            source = " ".join(words[at : at + size])
            if source in rules:
                done.append(rules[source])
                at += size
                break
        else:
            done.append(words[at])
            at += 1
    return " ".join(" ".join(done).split())
