"""``seqkd shots``: a song in, cuts that an editor can open out."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.errors import ConfigError

if TYPE_CHECKING:
    from seqkd.progress import ProgressBar
    from seqkd.shots.editing.drafts import CutSettings
    from seqkd.shots.editing.timeline import Timeline
    from seqkd.shots.model import ShotModel

RECIPE = "egs/synthetic_concerts/music2shot"
MODEL = f"{RECIPE}/exp/default/model"
VARIABLE = "SEQKD_SHOTS_MODEL"
EPILOG = """formats, by the file's name: .otio, .fcpxml (both need pip install 'seqkd[edit]'), .edl, .csv, .srt, .json,
.html (a storyboard that plays the song). JSON and HTML hold all drafts; of the others every draft is a file.
example: seqkd shots song.wav -o cut.otio -o cut.html --fps 29.97 --start-tc 01:00:00:00 --drafts 3"""


def main(argv: list[str]) -> int:
    """Entry point; everything that can be checked is checked before the song is listened to."""
    args = parser().parse_args(argv)
    from seqkd.shots.editing.drafts import CutSettings
    from seqkd.shots.editing.export_files import check_libraries, check_place, file_names, format_of
    from seqkd.shots.editing.timecode import parse_rate

    rate = parse_rate(args.fps)
    settings = CutSettings(
        rate=rate,
        pace=None if args.pace is None else number("--pace", args.pace, float),
        snap=args.snap,
        min_shot=number("--min-shot", args.min_shot, float),
        start=rate.parse(args.start_tc),
        drafts=number("--drafts", args.drafts, int),
        seed=number("--seed", args.seed, int),
    )
    for song in args.songs:
        if not song.is_file():
            raise ConfigError(f"{song} {'is a directory' if song.is_dir() else 'does not exist'}; expected a song.")
        if not is_text(str(song.absolute())):
            raise ConfigError(f"the name of {str(song)!r} is not valid UTF-8, which audio libraries need; rename it.")
    if args.tagger is not None and not args.tagger.is_file():
        raise ConfigError(f"--tagger {args.tagger} does not exist; expected a CSV or npy file of posteriors.")
    if args.tagger is not None and len(args.songs) > 1:
        raise ConfigError("--tagger is one song's posteriors, but several songs are given; cut them one by one.")
    places = plan(args.songs, args.output, args.format)
    for path in (path for paths in places for path in paths):
        for name in file_names(path, settings.drafts):
            check_place(name)
    check_libraries({format_of(path) for path in places[0]})
    model = load(args.model)
    for song, paths in zip(args.songs, places, strict=True):
        cut(song, paths, model, settings, args.tagger)
    return 0


def parser() -> argparse.ArgumentParser:
    """What ``seqkd shots`` understands."""
    made = argparse.ArgumentParser(
        prog="seqkd shots",
        description="Cut songs: a sequence of camera shots for each, on the beat, as files that editors open.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("songs", nargs="+", type=Path, metavar="SONG", help="wav, flac, ogg or mp3, of 1 s to hours")
    add(
        "-o", "--output", action="append", required=True, metavar="OUT",
        help="file to write, or a directory (of several songs always); may be repeated",
    )  # fmt: skip
    add("--model", type=Path, metavar="DIR", help=f"of the music2shot recipe (default: ${VARIABLE}, or {MODEL})")
    add("--fps", default="25", metavar="RATE", help="24, 25, 29.97 (drop-frame, or 29.97ndf), ... (default: 25)")
    add("--snap", default="beat", metavar="GRID", help="cut on every beat, downbeat or frame (default: beat)")
    add("--min-shot", default="0.5", metavar="S", help="seconds that every shot lasts, at least (default: 0.5)")
    add("--pace", metavar="S", help="seconds that shots last on average, to 5 %% (default: as the model expects)")
    add("--start-tc", default="00:00:00:00", metavar="TC", help="timecode of the first frame (default: 00:00:00:00)")
    add("--drafts", default="1", metavar="N", help="how many cuts: the model's best, then others drawn (default: 1)")
    add("--seed", default="0", metavar="N", help="of the drawn drafts (default: 0)")
    add("--tagger", type=Path, metavar="FILE", help="a music tagger's posteriors, if the model was trained with them")
    add("--format", default="", metavar="LIST", help="what goes into a directory, such as otio,edl (default: html)")
    return made


def is_text(name: str) -> bool:
    """Whether a file's name is text, and not bytes of another encoding."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def number(option: str, text: str, kind: Callable[[str], float]) -> float | int:
    """Read an option's number."""
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number of seconds"
        raise ConfigError(f"{option} {text!r} is not {wanted}.") from None


def plan(songs: list[Path], outputs: list[str], formats: str) -> list[list[Path]]:
    """Return the files of each song; ConfigError where it is not clear what to write, or one would replace another."""
    from seqkd.shots.editing.export_files import FORMATS, format_of

    wanted = [name.strip().lower().removeprefix(".") for name in (formats or "html").split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise ConfigError(f"--format {name!r} is not known; expected some of {', '.join(FORMATS)}.")
    places: list[list[Path]] = [[] for _ in songs]
    folders = 0
    for output in outputs:
        path = Path(output)
        if path.is_dir() or output.endswith("/") or not path.suffix:
            folders += 1
            for song, paths in zip(songs, places, strict=True):
                paths += [path / f"{song.stem}.{name}" for name in wanted]
        elif len(songs) > 1:
            raise ConfigError(
                f"-o {output} is one file, but {len(songs)} songs are given; name a directory, and what to write there "
                f"with --format {path.suffix.removeprefix('.')}."
            )
        else:
            format_of(path)
            places[0].append(path)
    if formats and not folders:
        raise ConfigError(f"--format is for directories, but -o {outputs[0]} is a file; leave it out.")
    seen: dict[Path, Path] = {}
    for song, paths in zip(songs, places, strict=True):
        for path in paths:
            if path in seen:
                raise ConfigError(f"{path} would be written twice, for {seen[path]} and {song}; rename one of them.")
            seen[path] = song
    return places


def find_model(given: Path | None) -> Path:
    """Return where the model is: as given, as the environment says, or where the recipe leaves it."""
    if given is not None:
        return given
    if named := os.environ.get(VARIABLE):
        return Path(named)
    here = Path(__file__).resolve().parents[2]  # a checkout, if it is one
    for place in (Path(MODEL), here / MODEL):
        if (place / "model.safetensors").is_file():
            return place
    raise ConfigError(
        f"there is no model yet: neither --model nor {VARIABLE} names one, and {MODEL} does not exist; "
        f"make one with ./{RECIPE}/run.sh --stop-stage export (about 12 minutes on two cores)."
    )


def load(given: Path | None) -> ShotModel:
    """Load the model, or say how to make one."""
    directory = find_model(given)
    if not directory.is_dir():
        raise ConfigError(
            f"the model {directory} does not exist; make one with ./{RECIPE}/run.sh --stop-stage export "
            f"(about 12 minutes on two cores), "
            f"which leaves it in {MODEL}."
        )
    from seqkd.shots.model import load_shot_model

    return load_shot_model(directory)


def cut(song: Path, paths: list[Path], model: ShotModel, settings: CutSettings, tagger: Path | None) -> None:
    """Analyse a song, cut it, write the files and print their names."""
    from seqkd.shots.audio.features import analyse
    from seqkd.shots.editing.drafts import make_drafts
    from seqkd.shots.editing.export_files import write_drafts
    from seqkd.shots.editing.export_text import readable

    with Progress(song.name) as tell:
        track = analyse(song, settings=model.settings, tagger=tagger, progress=tell)
        tell("cutting", 0.0)
        drafts = make_drafts(readable(song.stem), song, track, model.posteriors(track), model.language, settings)
        tell("writing", 0.0)
        written = write_drafts(paths, drafts)
    print(f"{readable(str(song))}: {summary(drafts, settings)}")
    print(f"  wrote {', '.join(readable(str(path)) for path in written)}")


class Progress:
    """Bars on stderr, one for each thing that is being done: the share of it that is done, and how long it will take.

    What takes less than two seconds, as all of a short song does, shows none.
    """

    def __init__(self, song: str) -> None:
        self.song, self.doing = song, ""
        self.bar: ProgressBar | None = None

    def __call__(self, what: str, share: float) -> None:
        """Show ``what`` at a share of 0 to 1."""
        from seqkd.progress import ProgressBar

        if what != self.doing or self.bar is None:
            self.__exit__()
            self.doing = what
            hint = " (compiling it, once a process)" if what == "loading librosa" else ""
            self.bar = ProgressBar(
                desc=f"{self.song}, {what}{hint}",
                total=1.0,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
                delay=2,
                leave=False,
            )
        self.bar.update(share - self.bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def summary(drafts: list[Timeline], settings: CutSettings) -> str:
    """One line on the song and its cuts, and one on whatever an editor should know."""
    from seqkd.shots.audio.beats import LEAST_CONFIDENCE
    from seqkd.shots.editing.export_text import EDL_EVENTS
    from seqkd.shots.editing.timeline import BEAT, DOWNBEAT, SECTION

    first = drafts[0]
    minutes, seconds = divmod(first.duration, 60)
    counts = [len(draft.clips) for draft in drafts]
    sections = sum(1 for _ in first.marked(SECTION))
    tempo = f"{first.tempo:.0f} beats a minute (confidence {first.confidence:.2f}), " if first.tempo else ""
    if len(drafts) == 1:
        cuts = f"{counts[0]} shot{'s' if counts[0] != 1 else ''} of {first.duration / counts[0]:.1f} s on average"
    else:
        cuts = f"drafts of {', '.join(map(str, counts[:-1]))} and {counts[-1]} shots"
    lines = [f"{minutes:.0f} min {seconds:.1f} s, {tempo}{sections} section{'s' if sections != 1 else ''}, {cuts}"]
    if settings.snap != "frame" and not any(first.marked(BEAT, DOWNBEAT)):
        lines.append(
            f"  no steady beat was found (confidence {first.confidence:.2f}, at least {LEAST_CONFIDENCE:g} is needed): "
            "cuts are on the nearest frames, as with --snap frame"
        )
    elif settings.snap == "downbeat" and not any(first.marked(DOWNBEAT)):
        lines.append("  no bars were found: cuts are on beats")
    lines += [f"  {note}" for note in dict.fromkeys(draft.note for draft in drafts if draft.note)]
    if max(counts) > EDL_EVENTS:
        lines.append(f"  more than {EDL_EVENTS} shots: older systems read no more of an EDL")
    return "\n".join(lines)
