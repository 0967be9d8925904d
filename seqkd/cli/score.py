"""``seqkd score``: error rates with error bars, of files or of a recipe's decodings."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from seqkd.errors import ConfigError

EPILOG = """formats, by the content: text (Kaldi), trn (sclite), stm with ctm (NIST), SegLST, JSON lines, NeMo, csv.
example: seqkd score --ref text --hyp baseline=a.txt --hyp student=b.trn --json score.json --html score.html"""

OF_MEETINGS = {"ref", "hyp", "meeting", "json", "normalize", "glm"}  # all that --meeting uses, but for the collar


def main(argv: list[str]) -> int:
    """Entry point. Scoring files needs neither torch nor the recipes' libraries."""
    if "--recipe" in argv:
        return score_recipe([argument for argument in argv if argument != "--recipe"])
    parser = file_parser()
    args = parser.parse_args(argv)
    refuse_unused(parser, args)
    if args.meeting:
        return score_meetings(args)
    from seqkd.scoring.evaluate import Options, score_files
    from seqkd.scoring.words import FEWEST, parse_costs

    options = Options(
        missing=args.missing,
        costs=FEWEST if args.costs == "fewest" else parse_costs(args.costs),
        normalize=args.normalize,
        glm=args.glm,
        markup=args.markup,
        spaces=args.cer_spaces,
        tokens=args.tokens,
        utt2spk=args.utt2spk,
        utt2dur=args.utt2dur,
        utt2group=named("--utt2group", args.utt2group, "KIND=FILE"),
        nbest=named("--nbest", args.nbest, "NAME=FILE"),
        baseline=args.baseline,
        confusions=args.confusions,
        formats=formats(args.format),
        reading=args.reading,
        encoding=args.encoding,
        extra=args.extra,
        fragments=args.fragments,
        rules=args.rules,
        mixed=args.mixed,
        formatted=args.formatted,
        keywords=keyword_lists(args.keywords),
        tagged=args.tagged,
        replicates=args.replicates,
        seed=args.seed,
    )
    systems = named("--hyp", [with_name(item) for item in args.hyp], "NAME=FILE")
    outputs = args.json, args.html, args.align
    print(score_files(args.ref, systems, *outputs, options=options, details=args.details, brief=args.wer))
    return 0


def file_parser() -> argparse.ArgumentParser:
    """What ``seqkd score`` understands."""
    made = argparse.ArgumentParser(
        prog="seqkd score",
        description="Score hypotheses of one or several systems against references, and compare the systems.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--ref", type=Path, required=True, metavar="FILE", help="references; - is standard input")
    add("--hyp", action="append", required=True, metavar="[NAME=]FILE", help="a system's hypotheses; may be repeated")
    add("--json", type=Path, metavar="FILE", help="write all numbers here")
    add("--html", type=Path, metavar="FILE", help="write a page with tables, charts and every alignment here")
    add("--align", type=Path, metavar="FILE", help="write every utterance in aligned columns here")
    add("--wer", action="store_true", help="print a line a system instead of the table: %%WER 12.34 [ 56 / 454, ... ]")
    add("--baseline", metavar="NAME", help="compare all other systems with this one, not each with each")
    add("--details", action="store_true", help="print errors by speaker, length and word, too")
    add(
        "--missing", choices=["error", "all", "present"], default="error",
        help="references without a hypothesis: an error (default), scored as empty (all), left out (present)",
    )  # fmt: skip
    add(
        "--extra", choices=["error", "drop"], default="error",
        help="hypotheses without a reference: an error (default), or left out (drop), which is printed",
    )  # fmt: skip
    add(
        "--format", action="append", default=[], metavar="[NAME=]FORMAT",
        help="text, trn, stm, ctm, seglst, jsonl, nemo, csv or lines; for all files, or for 'ref' or one system",
    )  # fmt: skip
    add(
        "--reading", choices=["lenient", "strict"], default="lenient",
        help="lenient (default) reads what NIST's tools read, too, and says what it did; strict keeps to the formats",
    )  # fmt: skip
    add("--encoding", default="utf-8", metavar="NAME", help="of the transcripts, such as gb18030 (default: utf-8)")
    add("--fragments", action="store_true", help="a word cut short (fi-) is right where it fits: sclite's -F")
    add(
        "--costs", default="fewest", metavar="S,D,I",
        help="of the alignment: 4,3,3 is sclite's; by default fewest errors, then fewest substitutions",
    )  # fmt: skip
    add("--normalize", default="", metavar="STEPS", help="such as lower,no-punctuation; or english, whisper-en")
    add("--glm", type=Path, metavar="FILE", help="mapping of words: lines of source => target, or NIST's .glm")
    add("--rules", type=Path, metavar="FILE", help="regular expressions, done first: lines of pattern => replacement")
    add("--mixed", action="store_true", help="mixed error rate, too: Chinese or Japanese characters, other words")
    add("--formatted", action="store_true", help="rates that count case, punctuation and both, beside the plain one")
    add(
        "--keywords", action="append", default=[], metavar="[NAME=]FILE",
        help="errors of words and phrases of a list, one a line, and of all others; may be repeated",
    )  # fmt: skip
    add("--tagged", action="store_true", help="the same of phrases tagged in the references, <name>ada</name>")
    add(
        "--markup", choices=["auto", "none", "alternatives", "all"], default="auto",
        help="alternatives: read {a / b} in references and hypotheses; all: also (uh), a word that may be missing; "
        "auto: {a / b} in trn, stm and ctm; none: plain words",
    )  # fmt: skip
    add("--cer-spaces", choices=["count", "ignore"], default="count", help="spaces as characters (default: count)")
    add("--tokens", type=Path, metavar="MODEL", help="a sentencepiece model, for the token error rate")
    add("--utt2spk", type=Path, metavar="FILE", help="speakers; 'prefix': what stands before - or _ in the id")
    add("--utt2dur", type=Path, metavar="FILE", help="seconds of each utterance")
    add("--utt2group", action="append", default=[], metavar="KIND=FILE", help="another grouping; may be repeated")
    add("--nbest", action="append", default=[], metavar="NAME=FILE", help="a system's n-best lists: oracle WER")
    add("--confusions", type=int, default=200, metavar="N", help="how many of each kind to save (default: 200)")
    add("--replicates", type=int, default=1000, metavar="N", help="of the intervals' bootstrap (default: 1000)")
    add("--seed", type=int, default=0, metavar="N", help="of all resampling (default: 0)")
    add("--meeting", choices=["cp", "tcp", "orc", "tcorc"], help="score meetings (SegLST or stm): cpWER, tcpWER, ...")
    add("--collar", type=float, default=5.0, metavar="SECONDS", help="of tcp and tcorc (default: 5)")
    add("--recipe", action="store_true", help="score a recipe's decodings instead (see --recipe --help)")
    return made


def refuse_unused(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Raise ConfigError for options that would change nothing: whoever gave them believes that they do."""
    given = {name for name, value in vars(args).items() if value != parser.get_default(name)}
    if args.meeting:
        timed = {"collar"} if args.meeting in ("tcp", "tcorc") else set()
        unused, case = given - OF_MEETINGS - timed, f"with --meeting {args.meeting}"
    elif "collar" in given:
        unused, case = {"collar"}, "without --meeting tcp or tcorc"
    else:
        unused, case = given & {"details"} if args.wer else set(), "with --wer"
    if unused:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in vars(args) if name in unused)
        raise ConfigError(f"{names} would have no effect {case}; leave out what has none")


def score_meetings(args: argparse.Namespace) -> int:
    """Score turns of several speakers, which may overlap: what ``--meeting`` asks for."""
    from seqkd.scoring.meetings.report import score_meeting_files

    systems = named("--hyp", [with_name(item) for item in args.hyp], "NAME=FILE")
    settings = {"collar": args.collar, "normalize": args.normalize, "glm": args.glm}
    print(score_meeting_files(args.ref, systems, args.meeting, args.json, **settings))
    return 0


def with_name(item: str) -> str:
    """Return ``NAME=FILE`` of an ``--hyp``; a file without a name takes its own, without folder and ending."""
    return item if "=" in item or not item else f"{Path(item).stem}={item}"


def named(option: str, items: list[str], form: str) -> dict[str, Path]:
    """Read ``NAME=FILE`` arguments."""
    found = {}
    for item in items:
        name, separator, path = item.partition("=")
        if not (separator and name and path):
            raise ConfigError(f"{option} {item!r}: expected {form}")
        if name in found:
            raise ConfigError(f"{option} {name} is given twice; give every one its own name")
        found[name] = Path(path)
    return found


def formats(items: list[str]) -> dict[str, str]:
    """Read ``FORMAT`` and ``NAME=FORMAT``; the former is under the empty name."""
    found = {}
    for item in items:
        name, _, form = item.rpartition("=")
        if name in found:
            raise ConfigError(f"--format is given twice for {name or 'all files'}")
        found[name] = form
    return found


def keyword_lists(items: list[str]) -> dict[str, Path]:
    """Read ``FILE`` and ``NAME=FILE``; a list without a name is called by its file."""
    return named("--keywords", [item if "=" in item else f"{Path(item).stem}={item}" for item in items], "NAME=FILE")


def score_recipe(argv: list[str]) -> int:
    """``decode_<set>/score.json`` for every system, seed and test set of a recipe."""
    from seqkd.cli.settings import parse, parser
    from seqkd.config import compose, system_settings

    args = parse(parser("score --recipe", "Score the decodings of every trained system."), argv)
    cfg = compose(args)
    from seqkd.experiment.scores import score
    from seqkd.tasks import task_of
    from seqkd.training.order import all_runs

    task = task_of(cfg)
    for system, seed in all_runs(task, cfg, partial(system_settings, cfg)):
        for name in cfg.sets.test:
            score(task, cfg, system, seed, name)
    return 0
