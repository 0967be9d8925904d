"""Stage 0 of the LibriSpeech recipe: from folders in its layout, or from a server, to data directories."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.speech import librispeech_download
from seqkd.corpora.speech.librispeech import find_root, make_corpus
from seqkd.corpora.speech.librispeech_download import PARTS, archives, download
from seqkd.data.features import FeatureSettings, make_features
from seqkd.data.kaldi import read_data_dir
from seqkd.errors import ConfigError, DataError
from tests.libri_corpus import RATE, make_libri, make_part

SETS = {
    "train_clean_100": {"parts": ["train-clean-100"]},
    "dev": {"parts": ["dev-clean", "dev-other"]},
    "test_clean": {"parts": ["test-clean"]},
    "unlabelled": {"parts": ["test-other"], "transcripts": False},
    "small": {"subset_of": "train_clean_100", "utterances": 5},
}


@pytest.fixture(scope="module")
def libri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_libri(tmp_path_factory.mktemp("libri") / "LibriSpeech")


@pytest.fixture
def broken(libri: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(libri, tmp_path / "LibriSpeech")


@pytest.fixture(autouse=True)
def no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIBRISPEECH", raising=False)


def message(function, *arguments, kind=DataError, **settings) -> str:
    with pytest.raises(kind) as raised:
        function(*arguments, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_sets_hold_what_the_parts_hold(libri, tmp_path, capsys):
    make_corpus(tmp_path, nj=2, sets=SETS, root=libri)
    sets = {name: read_data_dir(tmp_path / name) for name in SETS}
    assert {name: len(found) for name, found in sets.items()} == {
        "train_clean_100": 24,
        "dev": 8,
        "test_clean": 6,
        "unlabelled": 6,
        "small": 5,
    }
    one = sets["train_clean_100"][0]
    assert (one.id, one.speaker) == ("1019-198-0000", "1019")
    assert one.audio.resolve() == (libri / "train-clean-100/1019/198/1019-198-0000.flac").resolve()
    lines = (libri / "train-clean-100/1019/198/1019-198.trans.txt").read_text().splitlines()
    assert f"{one.id} {one.text}" == lines[0]
    assert {u.text for u in sets["unlabelled"]} == {None}
    assert {u.id for u in sets["small"]} < {u.id for u in sets["train_clean_100"]}
    said = capsys.readouterr().err
    assert "train-clean-100: 24 utterances, 0.0 h; the whole part has 28539" in said


def test_features_are_made_of_the_flac_files_as_they_are(libri, tmp_path):
    make_corpus(tmp_path, nj=1, sets={"test": {"parts": ["test-clean"]}}, root=libri)
    assert make_features(tmp_path / "test", FeatureSettings(num_mel_bins=20), nj=1) == 6
    assert not list(tmp_path.rglob("*.flac")) + list(tmp_path.rglob("*.wav"))


def test_unchanged_sets_keep_their_features_and_moved_ones_do_not(libri, tmp_path):
    sets = {"test": {"parts": ["test-clean"]}, "dev": {"parts": ["dev-clean"]}}
    make_corpus(tmp_path, nj=1, sets=sets, root=libri)
    for name in sets:
        make_features(tmp_path / name, FeatureSettings(num_mel_bins=20), nj=1)
    make_corpus(tmp_path, nj=3, sets=sets, root=libri)
    assert all((tmp_path / name / "feats" / "done.json").is_file() for name in sets)
    other = shutil.copytree(libri, tmp_path / "other")
    transcript = next((other / "dev-clean").rglob("*.trans.txt"))
    transcript.write_text(transcript.read_text().replace("DO", "RE", 1))
    make_corpus(tmp_path, nj=1, sets=sets, root=other)
    assert read_data_dir(tmp_path / "test")[0].audio.resolve().is_relative_to(other)
    assert not (tmp_path / "dev" / "feats").exists()


def test_where_it_lies(libri, tmp_path, monkeypatch):
    assert find_root(None) is None
    assert find_root(libri) == libri
    assert find_root(libri.parent) == libri  # the folder with LibriSpeech/ in it
    monkeypatch.setenv("LIBRISPEECH", str(libri))
    assert find_root(None) == libri
    make_corpus(tmp_path, nj=1, sets={"dev": {"parts": ["dev-clean"]}})
    assert len(read_data_dir(tmp_path / "dev")) == 4
    monkeypatch.setenv("LIBRISPEECH", "/nowhere")
    assert message(find_root, None) == (
        "LIBRISPEECH (the environment, or local/db.sh) is /nowhere, which is not a directory; expected a directory "
        "with dev-clean and others, as unpacked, or leave it empty to have them downloaded."
    )
    (tmp_path / "empty").mkdir()
    assert message(find_root, tmp_path / "empty").startswith(
        f"corpus.root is {tmp_path / 'empty'}, which holds no part of LibriSpeech; "
    )


# ---- what can be wrong with it

CHAPTER = "train-clean-100/1026/199"


def remove_audio(root: Path) -> None:
    (root / CHAPTER / "1026-199-0003.flac").unlink()


def remove_several(root: Path) -> None:
    for number in (3, 5):
        (root / CHAPTER / f"1026-199-000{number}.flac").unlink()


def remove_line(root: Path) -> None:
    edit(root, lambda lines: lines[:-1])


def remove_transcripts(root: Path) -> None:
    (root / CHAPTER / "1026-199.trans.txt").unlink()


def misname_transcripts(root: Path) -> None:
    (root / CHAPTER / "1026-199.trans.txt").rename(root / CHAPTER / "1026-200.trans.txt")


def empty_transcript(root: Path) -> None:
    edit(root, lambda lines: [lines[0], "1026-199-0001", *lines[2:]])


def empty_file(root: Path) -> None:
    (root / CHAPTER / "1026-199.trans.txt").write_text("")


def line_twice(root: Path) -> None:
    edit(root, lambda lines: [*lines, lines[2]])


def line_of_another_chapter(root: Path) -> None:
    edit(root, lambda lines: ["1026-200-0000 DO", *lines])


def not_utf8(root: Path) -> None:
    (root / CHAPTER / "1026-199.trans.txt").write_bytes(b"1026-199-0000 D\xd6\n")


def corrupt(root: Path) -> None:
    (root / CHAPTER / "1026-199-0003.flac").write_bytes(b"fLaC but not really")


def empty_audio(root: Path) -> None:
    (root / CHAPTER / "1026-199-0003.flac").write_bytes(b"")


def other_rate(root: Path) -> None:
    soundfile.write(root / CHAPTER / "1026-199-0003.flac", np.zeros(800), 8000)


def stereo(root: Path) -> None:
    soundfile.write(root / CHAPTER / "1026-199-0003.flac", np.zeros((800, 2)), RATE)


def wrong_folder(root: Path) -> None:
    (root / CHAPTER / "1026-199-0003.flac").rename(root / "train-clean-100/1019/198/1026-199-0003.flac")


def missing_part(root: Path) -> None:
    shutil.rmtree(root / "train-clean-100")


def nothing_in_it(root: Path) -> None:
    shutil.rmtree(root / "train-clean-100")
    (root / "train-clean-100" / "19").mkdir(parents=True)


def edit(root: Path, change) -> None:
    file = root / CHAPTER / "1026-199.trans.txt"
    file.write_text("".join(f"{line}\n" for line in change(file.read_text().splitlines())))


AGAIN = "unpack or download train-clean-100 again"
FAULTS = {
    remove_audio: "{c}/1026-199.trans.txt, line 4: {c}/1026-199-0003.flac is missing; {again}.",
    remove_several: "{c}/1026-199.trans.txt, line 4: {c}/1026-199-0003.flac is missing (2 such files in all); {again}.",
    remove_line: "{c}/1026-199-0007.flac has no transcript in 1026-199.trans.txt beside it; {again}.",
    remove_transcripts: "{c}/1026-199-0000.flac has no transcript in 1026-199.trans.txt beside it "
    "(8 such files in all); {again}.",
    misname_transcripts: "{c}/1026-200.trans.txt is in the wrong folder, or misnamed: expected 1026-199.trans.txt "
    "there.",
    empty_transcript: "{c}/1026-199.trans.txt, line 2: the transcript of 1026-199-0001 is empty; get the file again.",
    empty_file: "{c}/1026-199.trans.txt is empty; expected an utterance id and its words on each line; "
    "get the file again.",
    line_twice: "{c}/1026-199.trans.txt, line 9: 1026-199-0002 is there already, on line 3; get the file again.",
    line_of_another_chapter: "{c}/1026-199.trans.txt, line 1: found '1026-200-0000', expected an utterance id that "
    "begins with 1026-199-.",
    not_utf8: "{c}/1026-199.trans.txt, line 1: byte 16 (0xd6) is not valid UTF-8; *",
    corrupt: "{c}/1026-199-0003.flac cannot be read as audio (*); {again}.",
    empty_audio: "{c}/1026-199-0003.flac cannot be read as audio (*); {again}.",
    other_rate: "{c}/1026-199-0003.flac has 8000 Hz and 1 channels, but LibriSpeech has 16000 Hz and one; {again}.",
    stereo: "{c}/1026-199-0003.flac has 16000 Hz and 2 channels, but LibriSpeech has 16000 Hz and one; {again}.",
    wrong_folder: "{root}/train-clean-100/1019/198/1026-199-0003.flac is in the wrong folder; its transcript is in "
    "{c}/1026-199.trans.txt.",
    missing_part: "{root} has no train-clean-100; unpack it there, or leave corpus.root and LIBRISPEECH empty to have "
    "all parts downloaded.",
    nothing_in_it: "{root}/train-clean-100 holds nothing of the form <speaker>/<chapter>/<speaker>-<chapter>.trans.txt"
    "; expected a part of LibriSpeech, unpacked.",
}


@pytest.mark.parametrize("breaks", FAULTS, ids=lambda breaks: breaks.__name__)
def test_one_sentence_says_what_is_wrong(broken, tmp_path, breaks):
    breaks(broken)
    said = message(make_corpus, tmp_path / "data", nj=2, sets=SETS, root=broken)
    expected = FAULTS[breaks].format(root=broken, c=broken / CHAPTER, again=AGAIN)
    before, _, after = expected.partition("*")
    assert said.startswith(before)
    assert said.endswith(after)
    assert "*" in expected or said == expected
    assert not (tmp_path / "data").exists()


def test_a_file_that_breaks_off_is_found_in_stage_1(broken, tmp_path):
    file = broken / "test-clean" / "4019" / "198" / "4019-198-0000.flac"
    file.write_bytes(file.read_bytes()[:3000])
    make_corpus(tmp_path, nj=1, sets={"test": {"parts": ["test-clean"]}}, root=broken)
    said = message(make_features, tmp_path / "test", FeatureSettings(num_mel_bins=20), 1)
    assert said.startswith("Utterance '4019-198-0000', ")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Set 'x': parts is None, expected a list of different ones of train-clean-100, "),
        ({"parts": ["train-clean"]}, "Set 'x': parts is ['train-clean'], expected "),
        ({"parts": ["dev-clean", "dev-clean"]}, "Set 'x': parts is ['dev-clean', 'dev-clean'], expected "),
        ({"part": ["dev-clean"]}, "Set 'x' has unknown key 'part'; known are parts, transcripts."),
    ],
)
def test_bad_settings(libri, tmp_path, settings, said):
    found = message(make_corpus, tmp_path, nj=1, sets={"x": settings}, root=libri, kind=ConfigError)
    assert found.startswith(said)


# ---- downloads


@dataclass
class Server:
    """Serves files, from where a Range header says; breaks off after ``limit`` bytes."""

    folder: Path
    limit: int | None = None
    ranges: list[str] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    served = Server(tmp_path / "served")
    served.folder.mkdir()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (served.folder / self.path.lstrip("/")).read_bytes()
            asked = self.headers.get("Range")
            served.ranges.append(asked or "all")
            begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if asked and begin >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            self.wfile.write(content[begin:][: served.limit])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        served.address = f"http://127.0.0.1:{running.server_address[1]}"
        yield served
        running.shutdown()
        thread.join()


@pytest.fixture
def packed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server of a small dev-clean and test-clean."""
    known = {}
    for seed, part in enumerate(("dev-clean", "test-clean"), start=1):
        make_part(tmp_path / "packing" / "LibriSpeech", part, 3, seed)
        archive = server.folder / f"{part}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "packing" / "LibriSpeech" / part, f"LibriSpeech/{part}")
        known[part] = (f"{server.address}/{part}.tar.gz", hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(librispeech_download, "archives", lambda: known)
    return server


def test_torchaudio_knows_every_part():
    known = archives()
    assert set(known) == set(PARTS)
    assert all(url.endswith(f"/{part}.tar.gz") and len(digest) == 64 for part, (url, digest) in known.items())


def test_parts_are_downloaded_once(packed, tmp_path):
    sets = {"dev": {"parts": ["dev-clean"]}, "test": {"parts": ["test-clean"]}}
    make_corpus(tmp_path / "data", nj=1, sets=sets)
    assert len(read_data_dir(tmp_path / "data" / "dev")) == 3
    assert packed.ranges == ["all", "all"]
    make_corpus(tmp_path / "data", nj=1, sets=sets)
    assert packed.ranges == ["all", "all"]
    left = {path.name for path in (tmp_path / "downloads").iterdir()}
    assert left == {"LibriSpeech", ".librispeech.lock"}


def test_a_download_goes_on_where_it_broke_off(packed, tmp_path):
    packed.limit = 1000
    url = f"{packed.address}/dev-clean.tar.gz"
    said = message(download, ["dev-clean"], tmp_path / "d")
    size = (packed.folder / "dev-clean.tar.gz").stat().st_size
    assert said == f"{url} broke off after 1000 of {size} bytes; run this again to go on."
    message(download, ["dev-clean"], tmp_path / "d")
    packed.limit = None
    assert (download(["dev-clean"], tmp_path / "d") / "dev-clean").is_dir()
    assert packed.ranges == ["all", "bytes=1000-", "bytes=2000-"]
    # All bytes there, but the process ended before it could say so.
    shutil.rmtree(tmp_path / "d" / "LibriSpeech")
    shutil.copy(packed.folder / "dev-clean.tar.gz", tmp_path / "d" / "dev-clean.tar.gz.part")
    assert (download(["dev-clean"], tmp_path / "d") / "dev-clean").is_dir()


def test_a_damaged_download_is_removed(packed, tmp_path):
    (tmp_path / "d").mkdir()
    archive = tmp_path / "d" / "dev-clean.tar.gz"
    archive.write_bytes(b"something else")
    said = message(download, ["dev-clean"], tmp_path / "d")
    assert said.startswith(f"{archive} had SHA-256 ")
    assert said.endswith("it was damaged and is removed now; run this again to download it anew.")
    assert (download(["dev-clean"], tmp_path / "d") / "dev-clean").is_dir()


def test_what_cannot_be_downloaded(packed, tmp_path, monkeypatch):
    url = "http://127.0.0.1:9/dev-clean.tar.gz"
    monkeypatch.setattr(librispeech_download, "archives", lambda: {"dev-clean": (url, "0" * 64)})
    said = message(make_corpus, tmp_path / "data", nj=1, sets={"dev": {"parts": ["dev-clean"]}})
    assert said.startswith(f"{url} cannot be downloaded to {tmp_path / 'downloads' / 'dev-clean.tar.gz'} (")
    assert said.endswith("or unpack the corpus and name it in local/db.sh.")
    assert not (tmp_path / "data").exists()


def test_an_archive_of_something_else_leaves_nothing_behind(packed, tmp_path, monkeypatch):
    packed_test = packed.folder / "test-clean.tar.gz"
    digest = hashlib.sha256(packed_test.read_bytes()).hexdigest()
    known = {"dev-clean": (f"{packed.address}/test-clean.tar.gz", digest)}
    monkeypatch.setattr(librispeech_download, "archives", lambda: known)
    assert "holds no LibriSpeech/dev-clean" in message(download, ["dev-clean"], tmp_path / "d")
    assert {path.name for path in (tmp_path / "d").iterdir()} == {".librispeech.lock", "dev-clean.tar.gz"}
