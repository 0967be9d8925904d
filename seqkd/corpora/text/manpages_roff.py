"""The text of manual pages: roff with the ``man`` macros, as blocks of plain text between macros.

Of roff there is what pages use to write prose. Fonts, sizes and spacing go, characters become Unicode. What
is not prose (code, tables, synopses) is kept as a block without text, so that two languages of a page have
the same blocks.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_FONTS = {"B", "I", "SM", "SB", "R"}
_TWO_FONTS = {"BI", "BR", "IB", "IR", "RB", "RI"}
_PARAGRAPHS = {"PP", "P", "LP", "HP", "RS", "RE", "sp", "br", "in", "ti", "bp", "ce"}
_LITERAL = {"nf": "fi", "EX": "EE", "TS": "TE", "EQ": "EN", "SY": "YS"}  # where it ends
_CONDITIONS = {"if", "ie", "el", "while"}
_GLYPHS = {
    **{"aq": "'", "dq": '"', "cq": "’", "oq": "‘", "lq": "“", "rq": "”", "Fo": "«", "Fc": "»", "fo": "‹", "fc": "›"},
    **{"Bq": "„", "bq": "‚", "ga": "`", "aa": "´", "ha": "^", "ti": "~", "rs": "\\", "sl": "/", "ba": "|", "bv": "|"},
    **{"hy": "-", "mi": "−", "en": "–", "em": "—", "bu": "•", "sq": "□", "dg": "†", "dd": "‡", "sc": "§", "ps": "¶"},
    **{"co": "©", "rg": "®", "tm": "™", "de": "°", "mc": "µ", "mu": "×", "di": "÷", "+-": "±", "no": "¬", "Eu": "€"},
    **{"<=": "≤", ">=": "≥", "!=": "≠", "==": "≡", "~~": "≈", "if": "∞", "->": "→", "<-": "←", "ua": "↑", "da": "↓"},
    **{"12": "½", "14": "¼", "34": "¾", "S1": "¹", "S2": "²", "S3": "³", "sr": "√", "pl": "+", "eq": "=", "sh": "#"},
    **{"ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "/o": "ø", "/O": "Ø", "oa": "å", "oA": "Å", "at": "@"},
    **{"lB": "[", "rB": "]", "lC": "{", "rC": "}", "la": "⟨", "ra": "⟩", "Do": "$", "ct": "¢", "Po": "£", "Ye": "¥"},
    **{"*a": "α", "*b": "β", "*g": "γ", "*e": "ε", "*l": "λ", "*m": "μ", "*p": "π", "*s": "σ", "*t": "τ", "*G": "Γ"},
    **{"Im": "ℑ", "Re": "ℜ", "mo": "∈", "es": "∅", "ul": "_", "u2019": "’"},
}  # fmt: skip
_STRINGS = {"lq": "“", "rq": "”", "R": "®", "Tm": "™"}
_SINGLE = {
    **{character: character for character in "-._"},
    **dict.fromkeys("|^&%/,:)cp", ""),
    **{" ": " ", "~": " ", "0": " ", "t": " ", "e": "\\", "\\": "\\", "'": "´", "`": "`"},
}
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303", ":": "\u0308", ",": "\u0327", "v": "\u030c"}
_ESCAPE = re.compile(
    r"\\(?:f(?:\[[^]]*\]|\(..|.)"  # a font
    r"|[sm](?:\[[^]]*\]|'[^']*'|[-+]?\(..|[-+]?.)"  # a size, a colour
    r"|\[(?P<long>[^]]*)\]|\((?P<two>..)"  # a character
    r"|\*(?:\[(?P<string>[^]]*)\]|\((?P<string2>..)|(?P<string1>.))"
    r"|(?P<one>.|$))"
)
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)\\[\"#].*$")
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\.|[^\s\\])+)')


@dataclass(frozen=True)
class Block:
    """A stretch of text between macros.

    Attributes:
        kind: ``SH`` and ``SS`` headings, ``TP`` what an entry of a list is about and ``TD`` what is said of
            it, ``IP`` an item, ``P`` any other paragraph, ``nf`` what is not prose.
        text: Plain text; "" for ``nf``; None where roff occurs that is not understood here.
        section: How many ``SH`` there were up to here.
    """

    kind: str
    text: str | None
    section: int


def _character(name: str) -> str | None:
    if name in _GLYPHS:
        return _GLYPHS[name]
    if re.fullmatch(r"u[0-9A-F]{4,6}", name) and int(name[1:], 16) <= 0x10FFFF:
        return chr(int(name[1:], 16))
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    return None


def plain_text(roff: str) -> str | None:
    """Return text without escapes, white space collapsed; None if an escape is not known."""
    unknown = False

    def replace(match: re.Match[str]) -> str:
        nonlocal unknown
        name = match["long"] or match["two"]
        string = match["string"] or match["string2"] or match["string1"]
        found: str | None = ""  # fonts and sizes
        if name is not None:
            found = _character(name)
        elif string is not None:
            found = _STRINGS.get(string)
        elif match["one"] is not None:
            found = _SINGLE.get(match["one"])
        unknown = unknown or found is None
        return found or ""

    text = _ESCAPE.sub(replace, roff).replace("\u00ad", "")  # soft hyphens
    return None if unknown else " ".join(text.split())


def arguments(rest: str) -> list[str]:
    """Split what follows a macro's name: at spaces, but not within quotes or after a backslash."""
    return [
        match[1].replace('""', '"') if match[1] is not None else match[2] for match in _ARGUMENT.finditer(rest.strip())
    ]


class _Page:
    """Reads the lines of one page; ``blocks`` is what was found."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.section = 0
        self._kind = "P"
        self._text = ""
        self._glued = True  # whether the next piece follows without a space
        self._title_due = False  # the next line is a heading or what a list entry is about
        self._literal: str | None = None  # the macro that ends what is not prose
        self._skip: str | None = None  # the line that ends what is not shown
        self._depth = 0  # of conditions
        self._link: tuple[str, int] | None = None  # address, and how much text there was when it began

    def read(self, source: str) -> list[Block]:
        """Return the blocks of a page."""
        for raw in source.split("\n"):
            line = _COMMENT.sub(r"\1", raw.rstrip("\r"))
            if self._skip is not None:
                self._skip = None if line.rstrip() == self._skip else self._skip
            elif self._depth:
                self._depth += line.count("\\{") - line.count("\\}")
            elif line[:1] in (".", "'"):
                name, _, rest = line[1:].strip().partition(" ")
                self._macro(*([name, rest] if "\t" not in name else name.split("\t", 1)))
            elif line.strip() or not raw.strip():  # not a line with a comment alone
                self._line(line)
        self._flush()
        return self.blocks

    def _flush(self, kind: str = "P") -> None:
        """End a block; ``kind`` is that of the next one."""
        if self._literal is None and self._text.strip():
            self.blocks.append(Block(self._kind, plain_text(self._text), self.section))
        self._kind, self._text, self._glued, self._title_due, self._link = kind, "", True, False, None

    def _append(self, piece: str) -> None:
        if self._literal is not None:
            return
        self._text += piece if self._glued else f" {piece}"
        self._glued = piece.endswith("\\c")
        if self._title_due and not self._glued and self._link is None:
            self._flush("TD" if self._kind == "TP" else "P")

    def _line(self, line: str) -> None:
        if line.strip():
            self._append(line.strip())
        elif not self._title_due:
            self._flush()

    def _macro(self, name: str, rest: str) -> None:
        if name in _CONDITIONS:
            self._depth = max(0, rest.count("\\{") - rest.count("\\}"))
        elif name in ("de", "ig", "am"):
            self._skip = ".."
        elif name == self._literal:
            self._literal = None
            self._flush()
        elif name in ("SH", "SS"):
            self._literal = None
            self._heading(name, arguments(rest))
        elif self._literal is not None:
            pass
        elif name in _LITERAL:
            self._flush()
            self.blocks.append(Block("nf", "", self.section))
            self._literal = _LITERAL[name]
        elif name in ("TP", "TQ"):
            self._flush("TP")
            self._title_due = True
        elif name == "IP":
            self._flush("TP")
            tag = arguments(rest)[:1]
            if tag and len(tag[0].split()) > 1:  # not a bullet or a number
                self._append(tag[0])
            elif tag:
                self._text = ""
            self._flush("IP")
        elif name in _PARAGRAPHS:
            self._flush()
        else:
            self._inline(name, arguments(rest))

    def _heading(self, name: str, words: list[str]) -> None:
        self._flush(name)
        self.section += name == "SH"
        self._title_due = True
        if words:
            self._append(" ".join(words))

    def _inline(self, name: str, words: list[str]) -> None:
        """Macros within a line; all others only change how text looks."""
        if name in ("UR", "MT"):
            self._link = (words[0] if words else "", len(self._text))
        elif name in ("UE", "ME") and self._link is not None:
            address, begin = self._link
            self._link = None
            if not self._text[begin:].strip():
                self._append(address)
            if words:
                self._glued = True
                self._append(words[0])
            elif self._title_due:
                self._flush("TD" if self._kind == "TP" else "P")
        elif not words:
            pass
        elif name in _TWO_FONTS:
            self._append("".join(words))
        elif name in _FONTS:
            self._append(" ".join(words))
        elif name == "MR" and len(words) > 1:
            self._append(f"{words[0]}({words[1]}){''.join(words[2:])}")
        elif name == "q":  # a quotation in pages from BSD
            self._append(f"“{words[0]}”{''.join(words[1:])}")


def parse_page(source: str) -> list[Block]:
    """Return the blocks of a manual page that is written with the ``man`` macros."""
    return _Page().read(source)
