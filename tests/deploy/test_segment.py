"""Long recordings with their texts to utterances, on the tone corpus, whose times are known."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.cli.main import main
from seqkd.corpora.own.audio import make_corpus
from seqkd.data.kaldi import Utterance, read_data_dir
from seqkd.deploy.bundle import open_bundle
from seqkd.deploy.segment import SCORE, segment, utterances_of
from seqkd.errors import DataError
from tests.deploy.conftest import SHIFT
from tests.tone_corpus import RATE, TONES


@pytest.fixture(scope="module")
def utterances(tones: Path) -> list[Utterance]:
    return read_data_dir(tones / "dev")


def recording(path: Path, pieces: list[np.ndarray], pause: float = 0.6) -> list[tuple[float, float]]:
    """Write pieces one after the other with pauses; return where each lies."""
    rng, parts, places, at = np.random.default_rng(0), [], [], 0.0
    for piece in pieces:
        parts += [piece, 0.01 * rng.standard_normal(round(pause * RATE))]
        places.append((at, at + len(piece) / RATE))
        at += len(piece) / RATE + pause
    soundfile.write(path, np.concatenate(parts), RATE)
    return places


def samples_of(utterances: list[Utterance]) -> list[np.ndarray]:
    return [soundfile.read(u.audio)[0] for u in utterances]


def test_every_utterance_is_found_where_it_is(exported: Path, utterances: list[Utterance], tmp_path: Path) -> None:
    spoken = utterances * 8
    places = recording(tmp_path / "long.wav", samples_of(spoken))
    parts = segment(open_bundle(exported), tmp_path / "long.wav", [u.text for u in spoken])
    assert [part.text for part in parts] == [u.text for u in spoken]
    for part, (start, end) in zip(parts, places, strict=True):
        assert part.score > SCORE
        assert start - 0.35 <= part.start <= start + 0.1 + 2 * SHIFT  # a tone begins after a tenth of a second
        assert end - 0.2 - 2 * SHIFT <= part.end <= end + 0.35
    for left, right in itertools.pairwise(parts):
        assert left.end <= right.start + 1e-6


def test_what_was_not_spoken_or_not_written_is_told(
    exported: Path, utterances: list[Utterance], tmp_path: Path
) -> None:
    sounds = samples_of(utterances)
    others = samples_of(utterances[::-1])
    # Spoken: 0, something unwritten, 1, 2, 4, ...; written: 0, 1, 2, something unspoken, 4, ...
    places = recording(tmp_path / "x.wav", [sounds[0], others[0], *sounds[1:3], *sounds[4:]])
    places = [places[0], *places[2:4], None, *places[4:]]
    texts = [u.text for u in utterances]
    texts[3] = " ".join([*TONES, *reversed(TONES)])
    parts = segment(open_bundle(exported), tmp_path / "x.wav", texts)
    assert parts[3].score is None or parts[3].score < SCORE
    for index in (0, 5, 6, 7):
        assert parts[index].score > SCORE
        assert parts[index].start == pytest.approx(places[index][0], abs=0.4)


def test_the_command_makes_a_corpus(
    exported: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken = utterances * 4
    recording(tmp_path / "a book.wav", samples_of(spoken))
    (tmp_path / "a book.txt").write_text("\n".join(u.text.upper() for u in spoken) + "\n")
    command = ["prepare", "segment", "--model", str(exported), "--audio", str(tmp_path / "a book.wav")]
    command += ["--text", str(tmp_path / "a book.txt"), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "has a unit of the model" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main([*command, "--normalize", "lower"]) == 0
    assert f": {len(spoken)} of {len(spoken)} utterances, " in capsys.readouterr().out
    assert [u.text for u in read_data_dir(tmp_path / "out")] == [u.text for u in spoken]
    assert (tmp_path / "out" / "scores.tsv").read_text().splitlines()[0] == "id\tstart\tend\tscore\tkept\ttext"
    make_corpus(tmp_path / "data", nj=1, train=tmp_path / "out", sample_rate=RATE)
    sets = [read_data_dir(tmp_path / "data" / name) for name in ("train", "dev", "test")]
    assert sum(map(len, sets)) == len(spoken)
    assert main([*command, "--normalize", "lower"]) == 1
    assert "is there already; name another --out, or remove it" in capsys.readouterr().err
    command[-1] = str(tmp_path / "other")
    assert main([*command, "--normalize", "lower", "--min-score", "1"]) == 1
    assert "No utterance fits with a score of 1 or more; " in capsys.readouterr().err


def test_texts_are_cut_where_people_pause() -> None:
    assert utterances_of("one two.\n\n  three   four\n") == ["one two.", "three four"]
    assert utterances_of("a b c. d e f! g", longest=4) == ["a b c.", "d e f! g"]
    assert utterances_of("a b, c d, e f, g", longest=4) == ["a b, c d,", "e f, g"]
    assert utterances_of("a b c d e f g", longest=3) == ["a b", "c d", "e f g"]


def test_a_damaged_recording_is_a_sentence(exported: Path, utterances: list[Utterance], tmp_path: Path) -> None:
    recording(tmp_path / "x.wav", samples_of(utterances))
    content = (tmp_path / "x.wav").read_bytes()
    (tmp_path / "x.wav").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"x\.wav breaks off"):
        segment(open_bundle(exported), tmp_path / "x.wav", [u.text for u in utterances])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
@pytest.mark.parametrize("command", ["transcribe", "segment"])
def test_an_hour_needs_less_than_700_mb(
    command: str, exported: Path, utterances: list[Utterance], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    once = np.concatenate([[*one, *0.01 * rng.standard_normal(RATE // 2)] for one in samples_of(utterances)])
    times = -(-3600 * RATE // len(once))
    with soundfile.SoundFile(tmp_path / "hour.wav", "w", RATE, 1) as file:
        for _ in range(times):
            file.write(once)
    lines = [u.text for u in utterances] * times
    (tmp_path / "hour.txt").write_text("\n".join(lines) + "\n")
    arguments = ["transcribe", "--model", exported, tmp_path / "hour.wav", "--out", tmp_path / "out.txt"]
    if command == "segment":
        arguments = ["prepare", "segment", "--model", exported, "--audio", tmp_path / "hour.wav"]
        arguments += ["--text", tmp_path / "hour.txt", "--out", tmp_path / "out"]
    program = (  # not ru_maxrss, which begins with what the process that started this one had
        "import sys; from seqkd.cli.main import main; status = main(sys.argv[1:]); "
        "print(status, open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    status, kilobytes = map(int, done.stdout.splitlines()[-1].split())
    assert status == 0, done.stderr
    assert kilobytes < 700_000
    if command == "segment":
        assert len(read_data_dir(tmp_path / "out")) > 0.95 * len(lines)
