"""What Kaldi's scoring leaves behind: ``wer_<weight>_<penalty>`` files for every hypothesis, and the best of them.

``python -m seqkd.scoring.kaldi <data-dir> <decode-dir>`` scores ``<decode-dir>/scoring_kaldi/penalty_<p>/<w>.txt``,
which Kaldi's own scripts or ours in local/score.sh make of lattices, against ``<data-dir>/text``, and writes::

    <decode-dir>/wer_<w>_<p>                  one %WER line, one %SER line, as compute-wer prints them
    <decode-dir>/scoring_kaldi/best_wer       the best of these lines and the file that it is from

The best has the lowest rate; of equal rates, the lowest weight. It is chosen on the set that is scored, as Kaldi's
scripts do: choose weight and penalty on a development set.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from seqkd import files
from seqkd.errors import DataError, SeqkdError
from seqkd.scoring.formats import Reading, read_text
from seqkd.scoring.normalize import Normalizer
from seqkd.scoring.wer import MISSING, Utterances, count
from seqkd.scoring.words import FEWEST, Costs, parse_costs

_PLACE = re.compile(r"penalty_(?P<penalty>[^/]+)/(?P<weight>\d+)\.txt")


def wer_lines(utterances: Utterances) -> str:
    """Kaldi's two lines, such as ``%WER 5.00 [ 1 / 20, 0 ins, 1 del, 0 sub ]``, of one system."""
    words = utterances.words
    errors, length, wrong = int(words.errors.sum()), int(words.length.sum()), int((words.errors > 0).sum())
    if not length:
        raise DataError("The references hold no words, so there is no error rate.")
    sentences = len(utterances.ids)
    return (
        f"%WER {100 * errors / length:.2f} [ {errors} / {length}, {int(words.insertions.sum())} ins, "
        f"{int(words.deletions.sum())} del, {int(words.substitutions.sum())} sub ]\n"
        f"%SER {100 * wrong / sentences:.2f} [ {wrong} / {sentences} ]\n"
    )


def score_kaldi(
    data: Path | str, decode: Path | str, *, costs: Costs = FEWEST, normalize: str = "", missing: str = "all"
) -> tuple[str, Path]:
    """Score every hypothesis of a decode directory.

    Args:
        data: holds ``text``.
        decode: holds ``scoring_kaldi/penalty_<p>/<w>.txt``.
        costs: of the alignment.
        normalize: steps of `seqkd.scoring.normalize`.
        missing: see `seqkd.scoring.count`; Kaldi's own scripts leave utterances without a hypothesis out, as
            ``present`` does, without a message.

    Returns:
        The best %WER line, and the hypotheses that it is of.

    Raises:
        DataError: there are no hypotheses, one does not fit the references, or two are of different utterances, whose
            rates do not compare.
    """
    decode, best, first = Path(decode), None, None
    references = read_text(Path(data) / "text", Reading(strict=False))
    normalizer = Normalizer(normalize) if normalize else None
    for path in sorted((decode / "scoring_kaldi").glob("penalty_*/*.txt")):
        found = _PLACE.fullmatch(path.relative_to(decode / "scoring_kaldi").as_posix())
        if not found:
            continue
        try:
            hypotheses = read_text(path, Reading(strict=False))
            utterances = count(
                references, hypotheses, missing=missing, costs=costs, normalizer=normalizer, characters=False
            )
            lines = wer_lines(utterances)
        except DataError as fault:
            raise fault if str(fault).startswith(str(path)) else DataError(f"{path}: {fault}") from None
        first = first or (path, utterances.ids)
        if utterances.ids != first[1]:
            raise DataError(
                f"{path} and {first[0]} have hypotheses of different utterances, so that their rates do not compare; "
                "score missing ones as empty (missing: all)."
            )
        out = decode / f"wer_{found['weight']}_{found['penalty']}"
        files.write_text(out, lines)
        rate = Fraction(int(utterances.words.errors.sum()), int(utterances.words.length.sum()))
        entry = rate, int(found["weight"]), lines.splitlines()[0], out, path
        if best is None or entry[:2] < best[:2]:
            best = entry
    if best is None:
        raise DataError(f"{decode}/scoring_kaldi holds no penalty_<p>/<w>.txt to score.")
    line = f"{best[2]} {best[3]}"
    files.write_text(decode / "scoring_kaldi" / "best_wer", line + "\n")
    return line, best[4]


def main(arguments: Sequence[str]) -> int:
    """Print the best hypotheses' path; the lines are in the files."""
    args = _parser().parse_args(arguments)
    try:
        costs = FEWEST if args.costs == "fewest" else parse_costs(args.costs)
        line, path = score_kaldi(args.data, args.decode, costs=costs, normalize=args.normalize, missing=args.missing)
    except SeqkdError as fault:
        print(f"seqkd.scoring.kaldi: {fault}", file=sys.stderr)
        return 1
    print(line, file=sys.stderr)
    print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m seqkd.scoring.kaldi",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("data", type=Path, metavar="data-dir", help="holds text")
    made.add_argument("decode", type=Path, metavar="decode-dir", help="holds scoring_kaldi/penalty_<p>/<w>.txt")
    made.add_argument("--costs", default="fewest", metavar="S,D,I", help="of the alignment; see seqkd score --help")
    made.add_argument("--normalize", default="", metavar="STEPS", help="such as lower,no-punctuation")
    made.add_argument("--missing", choices=MISSING, default="all", help="utterances without a hypothesis")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
