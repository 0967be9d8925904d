"""Cut a song into shots from Python, and write a timeline that an editor opens.

    python examples/song_to_timeline.py MODEL SONG OUT

MODEL is a directory that a recipe exported: egs/synthetic_concerts/music2shot/run.sh --stop-stage export. SONG is an
audio file, OUT a file whose name gives the format, such as cut.edl or cut.csv.
"""

import sys
from pathlib import Path

from seqkd.shots.audio.features import analyse
from seqkd.shots.editing.drafts import CutSettings, make_drafts
from seqkd.shots.editing.export_files import write_drafts
from seqkd.shots.editing.timecode import parse_rate
from seqkd.shots.model import load_shot_model


def main(directory: Path, song: Path, out: Path) -> int:
    """Cut a song at 25 frames a second; return how many shots it has."""
    model = load_shot_model(directory)
    track = analyse(song, settings=model.settings)  # features by second, beats, sections
    settings = CutSettings(rate=parse_rate("25"), min_shot=1.0)
    (draft,) = make_drafts(song.stem, song, track, model.posteriors(track), model.language, settings)
    write_drafts([out], [draft])
    print(f"{len(draft.clips)} shots in {out}")
    return len(draft.clips)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
