"""Every path that a file system allows works as a setting: names in the rows, settings in the columns."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st

from seqkd.cli.main import main
from seqkd.cli.settings import parse, parser
from seqkd.config import compose, defaults
from seqkd.data.kaldi import read_data_dir
from seqkd.errors import ConfigError
from seqkd.overrides import as_meant, quoted

ROOT = Path(__file__).parents[2]
OWN = ["--conf", str(ROOT / "egs" / "TEMPLATE" / "ctc_kd" / "conf"), "--preset", "default"]
NAMES = [
    *("ü", "запись", "録音", "a b", " a", "a,b", "it's", "(a)", "a(", "a=b", "a;b", "a#b", "#", "~a", "a~", '"', '"a'),
    *("'a", "{a", "{a}", "[a]", "[a", "a:b", "a::b", "$a", "${a}", "${exp}", "$", "a\\b", "a\\", "a\\'", "%20", "a%"),
    *("a&b", "a|b", "<a>", "a*", "a?", "!a", "@a", "+a", "a@b", "^", "`a`", "null", "true", "2024", "1e3", "0.1"),
    *("nan", "-", "--", "a\tb", "a\nb", "🎙", "u\u0308", "\u200b", "x" * 255),
]  # fmt: skip
SETTINGS = {
    "corpus.train": "corpus.train",
    "corpus.dev": "corpus.dev",
    "corpus.unlabelled": "corpus.unlabelled",
    "corpus.audio_root": "corpus.audio_root",
    "tokens.directory": "tokens.directory",
    "teacher.exp": "teacher.exp",
    "teacher.import_from": "teacher.import_from",
    "decode.lm": "decode.lm",
    "decode.lexicon": "decode.lexicon",
    "report.out": "report.out",
}
OPTIONS = {"--exp": "exp", "--data": "data"}
PLACES = {**SETTINGS, **OPTIONS}
DEFAULTS = defaults("asr")


def composed(*argv: str):
    return compose(parse(parser("test", ""), [*OWN, *argv]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a directory of each name: what is there is never taken for a reference to another setting."""
    made = tmp_path_factory.mktemp("odd")
    for name in NAMES:
        (made / name).mkdir()
    return made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", SETTINGS)
def test_a_path_is_read_as_it_was_written(place: str, name: str, folder: Path) -> None:
    """By Hydra's own parser, which takes a hundredth of the time of settings put together."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    override = OverridesParser.create().parse_override(as_meant(f"{place}={folder / name}", DEFAULTS))
    assert override.key_or_group == place
    cfg = OmegaConf.create({"value": override.value()})
    assert OmegaConf.to_container(cfg, resolve=True) == {"value": str(folder / name)}


@pytest.mark.parametrize("first", range(0, len(NAMES), len(PLACES)))
def test_a_path_is_what_was_written(first: int, tmp_path: Path) -> None:
    """Each name in one place, all places at once; as directories that are there."""
    names = dict(zip(PLACES, itertools.islice(itertools.cycle(NAMES), first, None), strict=False))
    paths = {place: tmp_path / name for place, name in names.items()}
    for path in paths.values():
        path.mkdir(exist_ok=True)
    cfg = composed(*(f"{place}={path}" for place, path in paths.items()))
    for place, path in paths.items():
        found = cfg
        for key in PLACES[place].split("."):
            found = found[key]
        assert found == str(path), place


ALONE = [name for name in NAMES if name not in ("null", "true")]


@pytest.mark.parametrize("first", range(0, len(ALONE), 3))
def test_so_is_a_name_alone(first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, two, three = (ALONE * 2)[first : first + 3]
    for name in {one, two, three}:
        Path(name).mkdir()
    cfg = composed(f"corpus.train={one}", f"corpus.dev={two}", f"teacher.exp={three}")
    assert (cfg.corpus.train, cfg.corpus.dev, cfg.teacher.exp) == (one, two, three)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12))
@quickly(max_examples=200, deadline=None)
def test_quoted_text_comes_back(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    cfg = OmegaConf.create({"key": OverridesParser.create().parse_override(f"key={quoted(text)}").value()})
    assert OmegaConf.to_container(cfg, resolve=True) == {"key": text}
    # What a process hands on to another one is as it was meant.
    assert as_meant(f"key={quoted(text)}", {"key": ""}) == f"key={quoted(text)}"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("corpus.normalize=lower,no-punctuation", "lower,no-punctuation"),
        ("corpus.normalize='lower,no-punctuation'", "lower,no-punctuation"),
        ("corpus.normalize=", ""),
        ("corpus.dev=0.1", 0.1),
        ("corpus.unlabelled=null", None),
        ("corpus.convert=true", True),
        ("corpus.channel=2", 2),
        ("corpus.columns.text=my text, mine", "my text, mine"),
        ("systems=student,kd", ["student", "kd"]),
        ("systems=[student,kd]", ["student", "kd"]),
        ("title=My recordings (2024): first", "My recordings (2024): first"),
        ("title=2024", "2024"),
        ("title=of ${tokens.set}", "of train"),
        ("teacher.import_from=[a,b]", ["a", "b"]),
        ("student.training.lr=1e-3", 1e-3),
    ],
)
def test_other_values_are_what_they_were(override: str, value: object) -> None:
    found = composed(override)
    for key in override.partition("=")[0].split("."):
        found = found[key]
    assert (list(found) if isinstance(value, list) else found) == value


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seeds=1,2", "setting seeds is '1,2'; expected a whole number"),
        ("student.training.lr=a,b", "setting student.training.lr is 'a,b'; expected a number"),
        ("student.training.lr=(", "setting 'student.training.lr=(' cannot be read ("),
    ],
)
def test_what_cannot_be_is_a_sentence(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        composed(override)
    assert str(raised.value).startswith(says)


def recordings(folder: Path) -> Path:
    """A table of forty recordings in a folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["path,text"]
    for n in range(40):
        soundfile.write(folder / f"{n}.wav", 0.1 * rng.standard_normal(4000), 8000)
        rows.append(f"{n}.wav,ab ba")
    (folder / "all.csv").write_text("\n".join(rows) + "\n")
    return folder / "all.csv"


# Every other one: that each can be a setting is tested above, and this takes a third of a second a name.
@pytest.mark.parametrize("name", [name for name in NAMES[::2] if "\n" not in name])
def test_recordings_in_such_a_folder_become_sets(name: str, tmp_path: Path) -> None:
    table = recordings(tmp_path / name / "in")
    data, exp = tmp_path / name / "data", tmp_path / name / "exp"
    common = [*OWN, f"--data={data}", f"--exp={exp}", "--nj=1", "features.sample_rate=8000", "tokens.type=char"]
    assert main(["prepare", "corpus", *common, f"corpus.train={table}", "corpus.test=0.2"]) == 0
    sets = [read_data_dir(data / one) for one in ("train", "dev", "test")]
    assert sum(map(len, sets)) == 40
    assert all(u.audio.samefile(table.parent / u.audio.name) for found in sets for u in found)
    assert main(["prepare", *common]) == 0
    assert (exp / "tokens" / "tokenizer.model").is_file()


@pytest.mark.parametrize("name", ["a\nb", "a ", "a|"])
def test_names_that_tables_cannot_hold_are_said(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "in"
    recordings(folder)
    (folder / "0.wav").rename(folder / name)
    rows = [{"path": one, "text": "ab"} for one in (name, *(f"{n}.wav" for n in range(1, 40)))]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = [*OWN, f"--data={tmp_path / 'data'}", "--nj=1", "features.sample_rate=8000"]
    assert main(["prepare", "corpus", *common, f"corpus.train={folder / 'all.jsonl'}"]) == 1
    assert "; rename it." in capsys.readouterr().err
    assert not list((tmp_path / "data").glob("[!.]*"))
