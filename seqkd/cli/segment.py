"""``seqkd prepare segment``: long recordings with their texts to a Kaldi data directory of utterances."""

from __future__ import annotations

import argparse
import math
import unicodedata
from pathlib import Path

from seqkd.errors import DataError


def main(argv: list[str]) -> int:
    """Entry point."""
    made = argparse.ArgumentParser(
        prog="seqkd prepare segment",
        description="Find the utterances of long recordings, such as audiobooks or meetings, by a model that 'seqkd "
        "export' wrote. DIR becomes a Kaldi data directory with segments, for corpus.train=DIR.",
    )
    made.add_argument("--model", type=Path, required=True, metavar="DIR", help="what seqkd export wrote")
    made.add_argument("--audio", type=Path, nargs="+", required=True, metavar="FILE", help="recordings")
    made.add_argument("--text", type=Path, nargs="+", required=True, metavar="FILE", help="their texts, in this order")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data directory; must not be there")
    made.add_argument("--normalize", default="", metavar="STEPS", help="of the text, such as lower,no-punctuation")
    made.add_argument(
        "--min-score", type=float, metavar="X", help="leave out what fits worse (default -1.5; 0 is perfect)"
    )
    made.add_argument("--speaker", metavar="NAME", help="who speaks in all of them (default: one speaker a recording)")
    made.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    args = made.parse_args(argv)
    if len(args.audio) != len(args.text):
        made.error(f"{len(args.audio)} recordings and {len(args.text)} texts; expected a text for each")
    if args.threads < 1:
        made.error("--threads must be at least 1")
    if args.min_score is not None and not math.isfinite(args.min_score):
        made.error(f"--min-score is {args.min_score}; expected a number such as -1.5")
    if args.speaker is not None and args.speaker.split() != [args.speaker]:
        made.error(f"--speaker is {args.speaker!r}; expected one word, such as {_word(args.speaker)}")
    names = [_word(audio.stem) for audio in args.audio]
    if len(set(names)) < len(names):
        made.error("two recordings have the same name; ids are made of it, rename one")
    if args.out.exists():
        raise DataError(f"{args.out} is there already; name another --out, or remove it")

    import torch

    from seqkd.data.kaldi import FORM, Utterance, check_names
    from seqkd.data.lines import read_lines
    from seqkd.data.sound import look_at
    from seqkd.data.whole import torn
    from seqkd.deploy.audio import seconds
    from seqkd.deploy.bundle import open_bundle
    from seqkd.deploy.segment import SCORE, Part, segment, utterances_of
    from seqkd.progress import ProgressBar
    from seqkd.scoring.normalize import Normalizer

    least = SCORE if args.min_score is None else args.min_score
    normalizer = Normalizer(args.normalize)
    # All that can be wrong with what was given is said before hours of work.
    check_names(args.out, (Utterance(name, audio, name, None) for name, audio in zip(names, args.audio, strict=True)))
    texts_of: dict[str, list[str]] = {}
    for name, audio, file in zip(names, args.audio, args.text, strict=True):
        raw = utterances_of("\n".join(read_lines(file)))
        normalised = normalizer([unicodedata.normalize(FORM, one) for one in raw])
        texts_of[name] = [text for text in (" ".join(one.split()) for one in normalised) if text]
        if not texts_of[name]:
            raise DataError(f"{file} has no words; expected the text of {audio}")
        if torn(audio) or not seconds(audio):
            look_at(audio)  # which says what is wrong
    torch.set_num_threads(args.threads)
    bundle = open_bundle(args.model, threads=args.threads)
    found: list[tuple[str, Path, list[Part]]] = []
    for name, audio in zip(names, args.audio, strict=True):
        with ProgressBar(total=round(seconds(audio), 1), unit="s", desc=audio.name) as bar:
            parts = segment(bundle, audio, texts_of[name], progress=bar.update)
        kept = [part for part in parts if part.score is not None and part.score >= least]
        spoken = sum(part.end - part.start for part in kept)
        print(f"{audio}: {len(kept)} of {len(parts)} utterances, {spoken / 60:.1f} of {seconds(audio) / 60:.1f} min")
        found.append((name, audio, parts))
    _write(args.out, found, least, args.speaker)
    return 0


def _word(text: str) -> str:
    return "_".join(text.split()) or "_"


def _write(out: Path, found: list, least: float, speaker: str | None) -> None:
    """Write the data directory, and every text with times and score in ``scores.tsv``."""
    from seqkd.files import atomic_directory

    rows = []
    lines: dict[str, list[str]] = {"wav.scp": [], "segments": [], "text": [], "utt2spk": []}
    for name, audio, parts in found:
        recording = f"{speaker}-{name}" if speaker else name
        used = False
        for number, part in enumerate(parts):
            key = f"{recording}-{number:05d}"
            kept = part.score is not None and part.score >= least
            score = "" if part.score is None else f"{part.score:.3f}"
            rows.append(f"{key}\t{part.start:.3f}\t{part.end:.3f}\t{score}\t{'yes' if kept else 'no'}\t{part.text}\n")
            if kept:
                used = True
                lines["segments"].append(f"{key} {recording} {part.start:.3f} {part.end:.3f}\n")
                lines["text"].append(f"{key} {part.text}\n")
                lines["utt2spk"].append(f"{key} {speaker or recording}\n")
        if used:
            lines["wav.scp"].append(f"{recording} {Path.cwd() / audio}\n")
    if not lines["text"]:
        raise DataError(
            f"No utterance fits with a score of {least:g} or more; is it the text of the recording, and the model "
            "of its language? --min-score takes less"
        )
    with atomic_directory(out) as directory:
        for table, content in lines.items():
            (directory / table).write_text("".join(sorted(content)), encoding="utf-8")
        heading = "id\tstart\tend\tscore\tkept\ttext\n"
        (directory / "scores.tsv").write_text(heading + "".join(rows), encoding="utf-8")
