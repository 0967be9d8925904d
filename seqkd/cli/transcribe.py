"""``seqkd transcribe``: words, with times and confidences, of recordings, by an exported model."""

from __future__ import annotations

import argparse
import contextlib
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.errors import DataError

if TYPE_CHECKING:
    from seqkd.deploy.bundle import Bundle
    from seqkd.deploy.transcribe import Transcript

STDIN = Path("-")
KINDS = ("text", "json", "ctm", "srt")


def main(argv: list[str]) -> int:
    """Entry point; status 1 when a file could not be read: it is named, and the others are done."""
    made = argparse.ArgumentParser(
        prog="seqkd transcribe", description="Transcribe recordings of any rate, length and number of channels."
    )
    made.add_argument(
        "files", nargs="*", type=Path, metavar="file.wav", help="wav, flac, ogg, mp3, ...; - for standard input"
    )
    made.add_argument(
        "--model", type=Path, default=Path(), metavar="DIR", help="what seqkd export wrote (default: this directory)"
    )
    made.add_argument(
        "--channel", type=int, metavar="N", help="take only this channel, from 1 (default: the average of all)"
    )
    made.add_argument("--int8", action="store_true", help="use the network with 8-bit weights")
    made.add_argument(
        "--beam", type=int, default=1, metavar="N", help="prefixes of the beam search (default 1: greedy)"
    )
    made.add_argument(
        "--blank-penalty",
        type=float,
        metavar="X",
        help="subtracted from the blank's logit: more makes for more words (default: what the export states, or 0)",
    )
    made.add_argument(
        "--format", choices=KINDS, default="text", help="json is one object a line, a file (default: text)"
    )
    made.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: the terminal)")
    made.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    stream = made.add_argument_group("while someone speaks")
    stream.add_argument(
        "--stream",
        action="store_true",
        help="print words as they come, by a model that streams: of one file, or of standard input (-), a WAV",
    )
    stream.add_argument("--microphone", action="store_true", help="of the microphone, by sounddevice; Ctrl-C ends it")
    stream.add_argument("--raw", type=int, metavar="HZ", help="standard input is bare samples of 16 bits at this rate")
    stream.add_argument(
        "--silence", type=float, metavar="S", help="seconds of silence that end a segment (default: 0.8)"
    )
    stream.add_argument(
        "--chunk", type=int, metavar="N", help="encoder frames, of 40 ms, at a time (default: as trained)"
    )
    args = made.parse_args(argv)
    if args.stream:
        return streamed(made, args)
    for option in ("microphone", "raw", "silence", "chunk"):
        if getattr(args, option) not in (None, False):
            made.error(f"--{option} goes with --stream")
    if not args.files:
        made.error("expected a file, or - for standard input")
    if args.beam < 1 or args.threads < 1:
        made.error("--beam and --threads must be at least 1")
    if args.channel is not None and args.channel < 1:
        made.error("--channel must be at least 1")
    if args.blank_penalty is not None and not math.isfinite(args.blank_penalty):
        made.error(f"--blank-penalty is {args.blank_penalty}; expected a finite number")

    import torch

    from seqkd.deploy.bundle import open_bundle
    from seqkd.deploy.formats import FORMATS, check_files

    if args.files.count(STDIN) > 1:
        made.error("standard input (-) can be read once")
    check_files(args.format, args.files)
    torch.set_num_threads(args.threads)
    bundle = open_bundle(args.model, int8=args.int8, threads=args.threads)
    if args.blank_penalty is not None:
        bundle = replace(bundle, blank_penalty=args.blank_penalty)
    faults: list[DataError] = []
    with from_stdin() if STDIN in args.files else contextlib.nullcontext(STDIN) as spooled:
        files = [spooled if one == STDIN else one for one in args.files]
        done = transcripts(bundle, files, args.beam, faults, args.channel, {spooled: "-"})
        several, show = len(files) > 1, FORMATS[args.format]
        return give("transcribe", (show(transcript, several) for transcript in done), faults, args.out)


def streamed(made: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """``--stream``."""
    if len(args.files) + args.microphone != 1:
        made.error("--stream takes one file, - for standard input, or --microphone")
    (file,) = args.files or [None]
    if args.raw is not None and (args.raw < 1 or file != STDIN):
        made.error("--raw is the rate of standard input (-), in Hz: --raw 16000")
    if args.beam != 1 or args.out:
        made.error("--stream is greedy, and to the terminal: leave out --beam and --out")
    if args.threads < 1 or (args.chunk is not None and args.chunk < 1):
        made.error("--threads and --chunk must be at least 1")
    if args.channel is not None and args.channel < 1:
        made.error("--channel must be at least 1")
    if args.silence is not None and not (args.silence > 0 and math.isfinite(args.silence)):
        made.error(f"--silence is {args.silence}; expected seconds, more than 0")

    import torch

    from seqkd.deploy.streaming import session, sources
    from seqkd.deploy.streaming.network import open_stream
    from seqkd.deploy.streaming.recogniser import SILENCE, StreamRecogniser

    torch.set_num_threads(args.threads)
    bundle = open_stream(args.model, chunk=args.chunk, int8=args.int8, threads=args.threads)
    if args.blank_penalty is not None:
        bundle = replace(bundle, blank_penalty=args.blank_penalty)
    rate = bundle.features.sample_rate
    if file is None:
        name, blocks = "microphone", sources.of_microphone(rate)
        print(f"recording; words come up to {bundle.latency:.2f} s late, Ctrl-C ends it", file=sys.stderr)
    elif file == STDIN:
        name, blocks = "standard input", sources.of_pipe(sys.stdin.buffer, rate, args.raw, args.channel)
    else:
        name, blocks = str(file), sources.of_file(file, rate, args.channel)
    write = session.Writer(args.format, name, sys.stdout.isatty())
    recogniser = StreamRecogniser(bundle, silence=SILENCE if args.silence is None else args.silence)
    for one in session.results(recogniser, blocks, name):
        sys.stdout.write(write(one))
        sys.stdout.flush()
    return 0


@contextlib.contextmanager
def from_stdin() -> Iterator[Path]:
    """Yield a file with what standard input gives: audio is read from its end, too, which a pipe cannot give."""
    with tempfile.NamedTemporaryFile(prefix="seqkd-stdin-") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        file.flush()
        yield Path(file.name)


def give(command: str, parts: Iterator[str], faults: list[DataError], out: Path | None) -> int:
    """Print the parts as they come, or write them to a file; then name the faults.

    Args:
        command: whose output it is.
        parts: of the files, one after the other.
        faults: filled, while ``parts`` are made, with what is wrong with files that cannot be done.
        out: a file, which is left alone when no file could be done; or None for the terminal.

    Returns:
        The exit status: 1 when there are faults.

    Raises:
        DataError: ``out`` cannot be written.
    """
    kept = []
    for part in parts:
        if out:
            kept.append(part)
        else:
            sys.stdout.write(part)
            sys.stdout.flush()
    if out and (kept or not faults):
        from seqkd.files import write_text

        try:
            write_text(out, "".join(kept))
        except OSError as error:
            raise DataError(f"{out} cannot be written ({error.strerror}); name another file by --out") from error
    for fault in faults:
        print(f"seqkd {command}: {fault}", file=sys.stderr)
    return int(bool(faults))


def transcripts(
    bundle: Bundle,
    files: list[Path],
    beam: int,
    faults: list[DataError],
    channel: int | None = None,
    names: Mapping[Path, str] | None = None,
) -> Iterator[Transcript]:
    """Transcribe one file after the other and say how fast it was; files that cannot be read go to ``faults``.

    ``names`` are what files are called whose own name the user does not know.
    """
    from seqkd.deploy.audio import seconds
    from seqkd.deploy.transcribe import transcribe
    from seqkd.progress import ProgressBar

    expected = sum(map(seconds, files))
    audio = spent = 0.0
    with ProgressBar(total=round(expected, 1), unit="s", desc="transcribing", disable=expected < 60) as bar:
        for file in files:
            begin = time.perf_counter()
            try:
                done = transcribe(bundle, file, beam=beam, progress=bar.update, channel=channel)
            except DataError as fault:
                known = names.get(file) if names else None
                faults.append(DataError(str(fault).replace(str(file), known)) if known else fault)
                continue
            spent += time.perf_counter() - begin
            audio += done.seconds
            yield replace(done, file=names.get(file, done.file)) if names else done
    if audio:
        count = len(files) - len(faults)
        print(
            f"{count} {'file' if count == 1 else 'files'}, {audio:.1f} s of audio in {spent:.2f} s: "
            f"real-time factor {spent / audio:.4f}",
            file=sys.stderr,
        )
