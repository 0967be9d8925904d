"""``seqkd transcribe`` on the tone corpus, whose word times are known."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from seqkd.cli.main import main
from seqkd.data.kaldi import Utterance, read_data_dir
from seqkd.deploy.bundle import open_bundle
from seqkd.deploy.export import export_model
from seqkd.deploy.formats import cues
from seqkd.deploy.transcribe import transcribe
from seqkd.deploy.words import Word
from tests.deploy.conftest import SHIFT, truth
from tests.tone_corpus import RATE

PAUSE = 0.5


@pytest.fixture(scope="module")
def utterances(tones: Path) -> list[Utterance]:
    return read_data_dir(tones / "dev")


def close(words: list[Word], expected: list[tuple[str, float, float]], frames: int = 2) -> None:
    """The right words, and each begins and ends within some encoder frames of where it does."""
    assert [w.text for w in words] == [text for text, _, _ in expected]
    for word, (_, start, end) in zip(words, expected, strict=True):
        assert word.start == pytest.approx(start, abs=frames * SHIFT)
        assert word.end == pytest.approx(end, abs=frames * SHIFT)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("beam", [1, 4])
def test_words_are_where_they_are(exported: Path, utterances: list[Utterance], int8: bool, beam: int) -> None:
    bundle = open_bundle(exported, int8=int8)
    for utterance in utterances:
        found = transcribe(bundle, utterance.audio, beam=beam)
        assert found.text == utterance.text
        close(found.words, truth(utterance.text))
        assert all(0.3 < word.confidence <= 1 for word in found.words)
        assert found.seconds == pytest.approx(soundfile.info(utterance.audio).duration)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_another_rate_and_more_channels(
    exported: Path, utterances: list[Utterance], tmp_path: Path, rate: int, channels: int
) -> None:
    bundle = open_bundle(exported)
    for utterance in utterances[:4]:
        samples = soxr.resample(soundfile.read(utterance.audio)[0], RATE, rate)
        soundfile.write(tmp_path / "x.flac", np.repeat(samples[:, None], channels, 1), rate)
        found = transcribe(bundle, tmp_path / "x.flac")
        close(found.words, truth(utterance.text))
        assert found.seconds == pytest.approx(len(samples) / rate, abs=0.001)


def long_recording(path: Path, utterances: list[Utterance], times: int) -> list[tuple[str, float, float]]:
    """Write utterances one after the other with pauses; return the words and their times in the recording."""
    expected, parts, offset = [], [], 0.0
    noise = np.random.default_rng(0)
    for utterance in utterances * times:
        samples, _ = soundfile.read(utterance.audio)
        expected += truth(utterance.text, offset)
        parts += [samples, 0.01 * noise.standard_normal(round(PAUSE * RATE))]
        offset += len(samples) / RATE + PAUSE
    soundfile.write(path, np.concatenate(parts), RATE)
    return expected


def test_a_long_recording_is_cut_and_its_times_are_its_own(
    exported: Path, utterances: list[Utterance], tmp_path: Path
) -> None:
    expected = long_recording(tmp_path / "long.wav", utterances, 6)
    heard: list[float] = []
    found = transcribe(open_bundle(exported), tmp_path / "long.wav", progress=heard.append)
    assert found.seconds > 60
    assert sum(heard) == pytest.approx(found.seconds)
    close(found.words, expected)


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(["transcribe", *map(str, arguments)]) == status
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_formats(
    exported: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = utterances[0], utterances[1]
    model = ("--model", exported)
    out, err = run(capsys, *model, one.audio)
    assert out == f"{one.text}\n"
    assert re.fullmatch(r"1 file, \d+\.\d s of audio in \d+\.\d\d s: real-time factor \d+\.\d{4}\n", err)
    out, err = run(capsys, *model, one.audio, two.audio)
    assert out == f"{one.audio}\t{one.text}\n{two.audio}\t{two.text}\n"
    assert err.startswith("2 files, ")

    out, _ = run(capsys, *model, "--format", "json", one.audio, two.audio)
    for line, utterance in zip(out.splitlines(), (one, two), strict=True):
        entry = json.loads(line)
        assert (entry["file"], entry["text"]) == (str(utterance.audio), utterance.text)
        close([Word(w["word"], w["start"], w["end"], w["confidence"]) for w in entry["words"]], truth(utterance.text))

    assert run(capsys, *model, "--format", "ctm", "--out", tmp_path / "x.ctm", one.audio, two.audio)[0] == ""
    lines = [line.split() for line in (tmp_path / "x.ctm").read_text().splitlines()]
    assert [line[4] for line in lines] == f"{one.text} {two.text}".split()
    assert [line[0] for line in lines] == [u.audio.stem for u in (one, two) for _ in u.text.split()]
    for (_, channel, start, duration, _, sure), (_, begin, end) in zip(lines, truth(one.text), strict=False):
        assert channel == "1"
        assert float(start) == pytest.approx(begin, abs=2 * SHIFT)
        assert float(start) + float(duration) == pytest.approx(end, abs=2 * SHIFT)
        assert 0 < float(sure) <= 1

    out, _ = run(capsys, *model, "--format", "srt", one.audio)
    number, times, text, *rest = out.split("\n")
    assert (number, text, rest) == ("1", one.text, ["", ""])
    assert re.fullmatch(r"00:00:00,\d{3} --> 00:00:0\d,\d{3}", times)


def test_srt_of_a_long_recording(
    exported: Path,
    utterances: list[Utterance],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seqkd.progress.draws", lambda: True)  # as on a terminal
    long_recording(tmp_path / "long.wav", utterances, 6)
    out, err = run(capsys, "--model", exported, "--format", "srt", tmp_path / "long.wav")
    blocks = [block.split("\n") for block in out.strip().split("\n\n")]
    assert [int(block[0]) for block in blocks] == list(range(1, len(blocks) + 1))
    assert " ".join(block[2] for block in blocks) == " ".join(u.text for u in utterances * 6)
    assert blocks[-1][1].startswith("00:01:")
    assert "transcribing: 100%" in err


def test_cues_end_at_pauses_and_when_full() -> None:
    def words(*starts: float, text: str = "word") -> list[Word]:
        return [Word(text, start, start + 0.3, 1.0) for start in starts]

    sizes = [len(cue) for cue in cues(words(0.0, 0.4, 2.0, 2.5, 3.3))]
    assert sizes == [2, 3]
    assert [len(cue) for cue in cues(words(*np.arange(0, 12, 0.5).tolist()))] == [12, 12]  # six seconds each
    assert [len(cue) for cue in cues(words(*np.arange(0, 3, 0.3).tolist(), text="x" * 30))] == [2] * 5
    assert list(cues([])) == []


def test_what_cannot_be_read_is_named_and_the_rest_is_done(
    exported: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "short.wav", np.zeros(80), RATE)
    bad = [tmp_path / name for name in ("text.wav", "empty.wav", "short.wav", "none.wav")]
    out, err = run(capsys, "--model", exported, bad[0], utterances[0].audio, *bad[1:], utterances[1].audio, status=1)
    assert [line.partition("\t")[2] for line in out.splitlines()] == [utterances[0].text, utterances[1].text]
    summary, *faults = err.splitlines()
    assert summary.startswith("2 files, ")
    expected = (
        "cannot be read as audio (",
        "holds no samples; ",
        "lasts 10 ms, less than one frame of 25 ms; ",
        "cannot",
    )
    for fault, path, says in zip(faults, bad, expected, strict=True):
        assert fault.startswith(f"seqkd transcribe: {path} {says}")


def test_silence_holds_no_words(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "x.wav", 0.01 * np.random.default_rng(0).standard_normal(RATE), RATE)
    assert run(capsys, "--model", exported, tmp_path / "x.wav")[0] == "\n"
    assert run(capsys, "--model", exported, "--format", "srt", tmp_path / "x.wav")[0] == ""


def test_standard_input(
    exported: Path,
    utterances: list[Utterance],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    one, two = utterances[0], utterances[1]
    give(one.audio.read_bytes())
    assert run(capsys, "--model", exported, "-")[0] == f"{one.text}\n"
    give(one.audio.read_bytes())
    assert run(capsys, "--model", exported, two.audio, "-")[0] == f"{two.audio}\t{two.text}\n-\t{one.text}\n"
    give(one.audio.read_bytes()[:-1000])
    _, err = run(capsys, "--model", exported, "-", status=1)
    assert err.startswith("seqkd transcribe: - breaks off: its header promises ")


def test_what_a_tool_must_convert_names_the_tool(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("m4a", "webm"):
        path = tmp_path / f"my talk.{kind}"
        path.write_bytes(b"\0\0\0 ftypM4A " + bytes(100))
        _, err = run(capsys, "--model", exported, path, status=1)
        assert f"is {kind}, which is not read as it is; take its sound out with: ffmpeg -i '{path}' -vn " in err


def test_a_penalty_of_the_blank_decides_how_much_is_written(
    exported: Path, utterances: list[Utterance], capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line, or as the export states it."""
    audio, bundle = utterances[0].audio, open_bundle(exported)
    assert bundle.blank_penalty == 0.0
    few, _ = run(capsys, audio, "--model", exported, "--blank-penalty", "-40")
    many, _ = run(capsys, audio, "--model", exported, "--blank-penalty", "40")
    assert few.strip() == "" and many.strip() not in ("", utterances[0].text)  # equal words merge without blanks
    for beam in (1, 4):
        assert transcribe(replace(bundle, blank_penalty=40.0), audio, beam=beam).text not in ("", utterances[0].text)
        assert transcribe(replace(bundle, blank_penalty=-40.0), audio, beam=beam).text == ""
    with pytest.raises(SystemExit):
        run(capsys, audio, "--model", exported, "--blank-penalty", "nan")


def test_an_export_states_its_penalty(learned: Path, tmp_path: Path) -> None:
    model, out = learned / "student" / "seed0" / "model", tmp_path / "export"
    assert export_model(model, out)
    without = json.loads((out / "export.json").read_text())["checks"]["sets"]
    assert "of the blank" not in (out / "README.md").read_text()
    assert export_model(model, out, blank_penalty=0.5)
    assert "\nlogits[..., 0] -= 0.5  # of the blank; chosen on dev\nunits = " in (out / "README.md").read_text()
    assert json.loads((out / "export.json").read_text())["checks"]["sets"].keys() == without.keys()
    assert json.loads((out / "export.json").read_text())["decoding"] == {"blank_penalty": 0.5}
    assert open_bundle(out).blank_penalty == 0.5
    assert not export_model(model, out, blank_penalty=0.5)
    assert export_model(model, out)  # of another penalty, it is another export
