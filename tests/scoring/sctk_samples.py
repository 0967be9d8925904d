"""NIST's own sample files through sclite and through ours: ``python -m tests.scoring.sctk_samples`` writes the table.

The runs are those of SCTK's test suite (src/sclite/testdata/tsclite.sh), and a few with files that it leaves out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from seqkd.errors import SeqkdError
from seqkd.scoring import SCLITE
from seqkd.scoring.evaluate import Options, evaluate
from tests.scoring import sclite

SAMPLES = Path(os.environ.get("SCTK_SAMPLES") or Path(__file__).parents[3] / "shared" / "sctk")
TABLE = Path(__file__).with_suffix(".md")
LOWER = Options(costs=SCLITE, normalize="lower", missing="all", replicates=1, paired_replicates=1)
OPTIONAL = replace(LOWER, markup="all")
FRAGMENTS = replace(LOWER, fragments=True)
BOTH = replace(OPTIONAL, fragments=True)
BOTH_ASCII = replace(BOTH, normalize="lower-ascii")
LETTERS = replace(LOWER, normalize="lower,letters")
ASCII = replace(LOWER, normalize="lower-ascii")
GB = replace(LOWER, encoding="gb18030")

DIFF = "GNU diff in place of the alignment with the fewest errors: another definition"
WEIGHTS = "words weighted by their frequency or length: another measure"
SEGMENT = "sclite looks for word boundaries itself, in a lexicon: another measure"
TIMES = "alignment by times in place of words: another definition"
REDUCE = "sclite's -m drops references or hypotheses outside each other's time: cut the files instead"
TEXT = "words without times or utterances against references by time; sclite aligns them with GNU diff alone"
NOT_UTF8 = "five- and six-byte characters: Unicode has ended at four bytes since 2003 (RFC 3629)"
ABSENT = (
    "errors are equal; sclite counts an optional word of the hypothesis, which the reference lacks and which is left "
    "out, as a correct word of the reference"
)
CHOPPED = (
    "sclite cuts both files at a pause about every fifty words and aligns the parts; here a channel is aligned as a "
    "whole"
)
SGML = "sclite's own output, which sc_stats reads: no transcripts"


@dataclass(frozen=True)
class Run:
    """One row.

    Attributes:
        ref: file of references.
        hyp: file of hypotheses.
        flags: sclite's.
        options: ours, to ask for the same.
        formats: sclite's names of the two formats.
        rate: which of our rates: ``wer``, ``cer`` or ``mixed``.
        refused: why there is none of ours.
        differs: why ours has other counts, where it must.
    """

    ref: str
    hyp: str
    flags: str = ""
    options: Options = LOWER
    formats: tuple[str, str] = ("trn", "trn")
    rate: str = "wer"
    refused: str = ""
    differs: str = ""


def timed(ref: str, hyp: str, flags: str = "", options: Options = LOWER, **more: str) -> Run:
    return Run(ref, hyp, flags, options, ("stm", "ctm"), **more)


RUNS = [
    Run("csrnab.ref", "csrnab.hyp", "-i wsj"),
    Run("csrnab.ref", "csrnab.hyp", "-i wsj -e utf-8"),
    Run("csrnab.ref", "csrnab.hyp", "-i wsj -s", replace(LOWER, normalize="", reading="strict", missing="error")),
    Run("csrnab.ref", "csrnab.hyp", "-i wsj -w csrnab_r.wwl", refused=WEIGHTS),
    Run("csrnab.ref", "csrnab.hyp", "-i wsj -d", refused=DIFF),
    Run("csrnab1.ref", "csrnab1.hyp", "-i wsj"),
    Run("csrnab1.ref", "csrnab1.hyp", "-i wsj -c", replace(LOWER, spaces="ignore"), rate="cer"),
    Run("csrnab1.ref", "csrnab1.hyp", "-i wsj -c", LETTERS),
    Run("demo.ref.txt", "demo.hyp.txt", "-i spu_id"),
    timed("lvc_ref.stm", "lvc_hyp.ctm"),
    timed("lvc_ref.stm", "lvc_hyp2.ctm"),
    timed("lvc_ref.stm", "lvc_hypc.ctm"),
    timed("lvc_refe.stm", "lvc_hyp.ctm"),
    timed("lvc_refe.notag.stm", "lvc_hyp.ctm"),
    timed("lvc_refm.stm", "lvc_hypm.ctm"),
    timed("lvc_refr.stm", "lvc_hypr.ctm"),
    timed("lvc_ref.stm", "lvc_hypr.ctm"),
    timed("lvc_refr.stm", "lvc_hyp.ctm"),
    timed("lvc_ref.stm", "lvc_hyp.ctm", "-F", FRAGMENTS),
    timed("lvc_ref.stm", "lvc_hyp.ctm", "-D", OPTIONAL),
    timed("lvc_refr.stm", "lvc_hypr.ctm", "-m ref hyp", refused=REDUCE),
    timed("lvc_ref.stm", "lvc_hypr.ctm", "-m ref hyp", refused=REDUCE),
    timed("lvc_refr.stm", "lvc_hypr.ctm", "-m hyp", refused=REDUCE),
    timed("lvc_refr.stm", "lvc_hypr.ctm", "-m ref", refused=REDUCE),
    Run("lvc_ref.stm", "lvc_hyp.txt", "", formats=("stm", "txt"), refused=TEXT),
    timed("mand_ref.stm", "mand_hyp.ctm", "-e gb", GB),
    timed("mand_ref.stm", "mand_hyp.ctm", "-e gb -d", GB, refused=DIFF),
    timed("mand_ref.stm", "mand_hyp.ctm", "-e gb -c", replace(GB, spaces="ignore"), rate="cer"),
    timed("mand_ref.stm", "mand_hyp.ctm", "-e gb -c NOASCII", GB, rate="mixed"),
    timed("mand_ref.stm", "mand_hyp.ctm", "-e gb -S algo1 mand.lex", refused=SEGMENT),
    Run("tests.ref", "tests.hyp", "-i spu_id"),
    Run("tests.ref", "tests.hyp", "-i spu_id -F", FRAGMENTS),
    Run("tests.ref", "tests.hyp", "-i spu_id -D", OPTIONAL),
    Run("tests.ref", "tests.hyp", "-i spu_id -F -D", BOTH),
    Run("tests.hyp", "tests.ref", "-i spu_id"),
    Run("tests.hyp", "tests.ref", "-i spu_id -F -D", BOTH, differs=ABSENT),
    Run("tests.ref", "tests.hyp", "-i spu_id -c", LETTERS),
    Run("tests.ref", "tests.hyp", "-i spu_id -S algo1 tests.lex", refused=SEGMENT),
    Run("tests.ref", "tests.hyp", "-i spu_id -S algo2 tests.lex ASCIITOO", refused=SEGMENT),
    *(
        Run(f"tests.ref.utf8-{n}bytes", f"tests.hyp.utf8-{n}bytes", "-i spu_id -F -D -e utf-8", BOTH_ASCII)
        for n in range(1, 5)
    ),
    *(
        Run(f"tests.ref.utf8-{n}bytes", f"tests.hyp.utf8-{n}bytes", "-i spu_id -F -D -e utf-8", BOTH, refused=NOT_UTF8)
        for n in (5, 6)
    ),
    Run("tima_ref.ctm", "tima_hyp.ctm", "", formats=("ctm", "ctm"), differs=CHOPPED),
    Run("tima_ref.ctm", "tima_hyp.ctm", "-D", OPTIONAL, formats=("ctm", "ctm"), differs=CHOPPED),
    Run("tima_ref.ctm", "tima_hyp.ctm", "-T", formats=("ctm", "ctm"), refused=TIMES),
    timed("test.cantonese.stm", "test.cantonese.ctm", "-e utf-8"),
    timed("test.cantonese.stm", "test.cantonese.ctm", "-e utf-8 -c NOASCII", LOWER, rate="mixed"),
    Run("test.turkish.ref", "test.turkish.hyp", "-i spu_id -e utf-8 babel_turkish"),
    Run("test.turkish.ref", "test.turkish.hyp", "-i spu_id -e utf-8 -s", replace(LOWER, normalize="")),
    Run("test.ukranian.ref", "test.ukranian.hyp", "-i spu_id -e utf-8", ASCII),
    Run("test.ukranian.ref", "test.ukranian.hyp", "-i spu_id -e utf-8 -s", replace(LOWER, normalize="")),
    Run("test.vietnamese.ref.trn", "test.vietnamese.hyp.trn", "-i spu_id -e utf-8 babel_vietnamese"),
    Run("test.vietnamese.ref.trn", "test.vietnamese.hyp.trn", "-i spu_id -e utf-8 -s", replace(LOWER, normalize="")),
    *(
        timed("stm2ctm_missing.ref.stm", f"stm2ctm_missing.hyp{which}.ctm")
        for which in (
            "", "-missall", "-missfile1", "-missfile1chanA", "-missfile1chanb", "-missfile2", "-missfile2chanA",
            "-missfile2chanB", "-extra",
        )
    ),
    Run("file1.sgml", "file2.sgml", refused=SGML),
    Run("test1.sgml", "", refused=SGML),
]  # fmt: skip

DIFFERS = "DIFFERS"
Row = tuple[int, ...]
HEAD = ("sentences", "words", "correct", "sub", "del", "ins", "errors", "wrong sentences")


def theirs(run: Run) -> Row | str:
    """sclite's row of sums, or the last of what it complains of."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [str(SAMPLES / flag) if (SAMPLES / flag).is_file() else flag for flag in run.flags.split()]
        command = [sclite.require() / "sclite", "-r", SAMPLES / run.ref, run.formats[0], "-h", SAMPLES / run.hyp,
                   run.formats[1], *flags, "-o", "rsum", "stdout", "-O", folder]  # fmt: skip
        done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, timeout=120)
    text = done.stdout.decode("latin-1")
    found = re.search(r"^\s*\|\s*Sum\s*\|\s*(\d+)\s+(\d+)\s*\|\s*((?:\d+\s+){5}\d+)\s*\|", text, re.M)
    if not found:
        said = [line for line in (text + done.stderr.decode("latin-1")).splitlines() if "rror" in line]
        return said[-1].strip() if said else "no result"
    return (int(found[1]), int(found[2]), *map(int, found[3].split()))


def ours(run: Run) -> Row | str:
    """The same sums of ours, or what we say."""
    try:
        result = evaluate(SAMPLES / run.ref, {"hyp": SAMPLES / run.hyp}, replace(run.options, mixed=True))
    except SeqkdError as fault:
        return str(fault).replace(f"{SAMPLES}/", "")
    utterances = result.scores["hyp"].utterances
    counts = {"wer": utterances.words, "cer": utterances.characters, "mixed": result.further["hyp"].mixed}[run.rate]
    sub, dels, ins, words = (
        int(part.sum()) for part in (counts.substitutions, counts.deletions, counts.insertions, counts.length)
    )
    errors = sub + dels + ins
    return len(utterances.ids), words, words - sub - dels, sub, dels, ins, errors, int((counts.errors > 0).sum())


def verdict(run: Run) -> tuple[str, str, str]:
    """sclite's row, ours, and whether they are equal, or why not."""
    if run.refused:
        said = theirs(run) if run.hyp and run.refused != SGML else "–"
        return _show(said), "refused", run.refused
    one, other = theirs(run), ours(run)
    if one == other:
        equal = "equal"
    elif isinstance(one, str) and isinstance(other, str):
        equal = "both refuse"
    else:
        equal = run.differs or DIFFERS
    return _show(one), _show(other), equal


def _show(row: Row | str) -> str:
    return row.replace("|", "/") if isinstance(row, str) else " ".join(map(str, row))


def table() -> str:
    """The page."""
    lines = [
        "# NIST's sample files through sclite and seqkd",
        "",
        "Made by `python -m tests.scoring.sctk_samples` (tests/scoring/test_sctk_samples.py holds it up to date), with",
        "Debian's sctk. Ours: `seqkd score --costs 4,3,3 --normalize lower --missing all`, without `lower` where",
        "sclite has `-s`; `--markup all` for `-D`, `--fragments` for `-F`, `--encoding gb18030` for `-e gb`; for `-c`",
        "`--normalize lower,letters` or the character error rate with `--cer-spaces ignore`, for `-c NOASCII` the",
        "mixed error rate (`--mixed`); `lower-ascii` where sclite is given no language.",
        f"Counts: {', '.join(HEAD)}.",
        "",
        "| references | hypotheses | sclite's flags | sclite | seqkd | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {run.ref} | {run.hyp} | {run.flags} | {' | '.join(verdict(run))} |" for run in RUNS]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if not SAMPLES.is_dir():
        sys.exit(f"{SAMPLES} is missing")
    TABLE.write_text(table(), encoding="utf-8")
