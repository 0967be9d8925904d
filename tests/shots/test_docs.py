"""docs/shots.md: its commands do what the page says; ffmpeg and PySceneDetect are stood for by what they write."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
import soundfile

from seqkd.cli import main as cli
from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.corpora.songs.imports import AUDIO, make_corpus
from seqkd.corpora.songs.shot_lists import SUFFIXES
from seqkd.errors import DataError
from seqkd.shots.classes import SHOTS
from seqkd.shots.data import read_songs
from tests.shots import test_cli
from tests.shots.test_cli import music

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "shots.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]
place, shot_model = test_cli.place, test_cli.shot_model

# As PySceneDetect 0.7.2 writes it: detect-adaptive list-scenes.
SCENES = """\
Timecode List:,00:00:05.000,00:00:07.200
Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,End Timecode,End Time (seconds),Length (frames),Length (timecode),Length (seconds)
1,1,00:00:00.000,0.000,125,00:00:05.000,5.000,125,00:00:05.000,5.000
2,126,00:00:05.000,5.000,180,00:00:07.200,7.200,55,00:00:02.200,2.200
3,181,00:00:07.200,7.200,250,00:00:10.000,10.000,70,00:00:02.800,2.800
"""  # noqa: E501


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("seqkd ")])
def test_songs_are_cut(command: str, place: Path, shot_model: Path) -> None:
    words = shlex.split(command)[1:]
    soundfile.write("song.flac", music(20), 22050)
    words[words.index("--model") + 1] = str(shot_model)
    assert cli.main(words) == 0
    outputs = [words[number + 1] for number, word in enumerate(words) if word == "-o"]
    assert outputs and all((place / name).stat().st_size for name in outputs)


def test_the_recipe_is_there_and_takes_these_settings() -> None:
    folder, command = (line for line in COMMANDS if line.startswith(("cd ", "./")))
    recipe = ROOT / folder.removeprefix("cd ")
    words = shlex.split(command)
    assert (recipe / words[0]).stat().st_mode & 0o111
    assert words[2:] == ["--stop-stage", "export"]
    options = ["--task", "shots", "--conf", str(recipe / "conf"), "--preset", "default"]
    cfg = compose(parse(parser("test", ""), [*options, words[1]]))
    assert cfg.corpus.source == "/path/to/concerts"
    assert f"{recipe.relative_to(ROOT)}/exp/default/model" in PAGE


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_scenes_with_types_are_a_corpus(separator: str, tmp_path: Path) -> None:
    """Steps 1 to 3: the sound beside PySceneDetect's list, without its column of types and with it."""
    folder = tmp_path / "my concerts"
    folder.mkdir()
    (folder / "live 7.mp4").write_bytes(b"video")
    soundfile.write(folder / "live 7.flac", music(10, 8000), 8000)
    (folder / "live 7-Scenes.csv").write_text(SCENES)
    with pytest.raises(DataError, match=r"live 7-Scenes\.csv is PySceneDetect's list, which has no types; add a col"):
        make_corpus(tmp_path / "data", source=folder, dev=0, test=0)
    first, header, *rows = csv.reader(SCENES.splitlines())
    typed = [first, [*header, "type"], *([*row, kind] for row, kind in zip(rows, ("LS", "CU", "MIS"), strict=True))]
    if separator == ";":  # of a spreadsheet with decimal commas
        typed = [[re.sub(r"^(\d+)\.(\d+)$", r"\1,\2", field) for field in row] for row in typed]
    with (folder / "live 7-Scenes.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(typed)
    make_corpus(tmp_path / "data", source=folder, dev=0, test=0)
    (song,) = read_songs(tmp_path / "data" / "train")
    assert song.id == "live_7"
    assert [(shot.start, shot.end, shot.kind) for shot in song.shots or ()] == [
        (0.0, 5.0, "LS"), (5.0, 7.2, "CU"), (7.2, 10.0, "MIS"),
    ]  # fmt: skip


def test_all_types_and_lists_are_named() -> None:
    assert set(re.findall(r"^\| `(\w+)` .*\| `(\w+)` \|", PAGE, re.M)) == set(zip(SHOTS[:4], SHOTS[4:], strict=True))
    assert all(f"`{suffix}`" in PAGE for suffix in SUFFIXES if suffix != ".xml")
    assert ".flac" in AUDIO
