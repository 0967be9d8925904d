"""Streams: the exported step is the whole, and what ``seqkd transcribe --stream`` prints of speech that goes on."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import sys
import types
import wave
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

from seqkd.cli.main import main
from seqkd.data.kaldi import read_data_dir
from seqkd.data.subsampling import subsampled_length
from seqkd.deploy.export import export_model
from seqkd.deploy.sherpa.folder import write_sherpa
from seqkd.deploy.sherpa.graph import fine_count
from seqkd.deploy.sherpa.stream import tail_seconds
from seqkd.deploy.streaming.check import stream_logits
from seqkd.deploy.streaming.graph import write_step
from seqkd.deploy.streaming.network import OnnxStep, open_stream
from seqkd.deploy.streaming.recogniser import LONGEST, StreamRecogniser
from seqkd.deploy.streaming.sources import of_pipe
from seqkd.deploy.web.page import write_page
from seqkd.errors import ConfigError, DataError
from seqkd.models.ctc import load_model, save_model
from tests.deploy.conftest import LEARNED, truth
from tests.deploy.web.chromium import browser, page_of
from tests.models.tiny_models import BINS, tiny_model
from tests.runs import train_here
from tests.tone_corpus import RATE

STREAMS = ["model@student.model=lookahead_conv", "student.model.lookahead=1", *LEARNED]


@pytest.fixture(scope="module")
def model(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory of a student of the tone corpus that looks one frame ahead."""
    return train_here(tmp_path_factory.mktemp("streams"), tones, "student", *STREAMS) / "model"


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "export"
    assert export_model(model, out) and not export_model(model, out)
    return out


@pytest.fixture(scope="module")
def talk(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[tuple[str, float, float]]]]:
    """A recording of three utterances with 1.5 s of noise between, and the words of each with their times."""
    rng, pieces, words, end = np.random.default_rng(0), [], [], 0.0
    for one in read_data_dir(tones / "dev")[:3]:
        samples, _ = soundfile.read(one.audio)
        words.append(truth(one.text, end))
        pieces += [samples, 0.01 * rng.standard_normal(3 * RATE // 2)]
        end += len(samples) / RATE + 1.5
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.concatenate(pieces), RATE, subtype="PCM_16")
    return path, words


@pytest.mark.parametrize("kind", ["chunk_conformer", "within_chunks", "lookahead_conv"])
def test_the_exported_step_is_the_whole(kind: str, tmp_path: Path) -> None:
    model = tiny_model(kind).eval()
    write_step(tmp_path / "stream.onnx", model)
    step = OnnxStep(tmp_path / "stream.onnx")
    for chunk, length in itertools.product((1, 2, 5, 16), (1, 3, 4, 5, 62, 63, 64, 65, 201)):
        if kind != "lookahead_conv":
            model.encoder.chunk = chunk
        features = torch.randn(length, BINS, generator=torch.Generator().manual_seed(length))
        with torch.no_grad():
            whole = model(features[None], torch.tensor([length])).logits[0]
        found = stream_logits(step, features, chunk, model.encoder.delay)
        assert len(found) == subsampled_length(length)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)


def test_the_export_says_what_a_step_takes(exported: Path) -> None:
    described = json.loads((exported / "export.json").read_text())["streaming"]
    assert (described["chunk"], described["delay"]) == (1, 1)
    assert described["state"]["convolution"] == [1, 1, 2, 24]
    assert described["check"]["largest"] < 1e-5
    card = (exported / "README.md").read_text()
    assert f"| `stream.onnx` | {(exported / 'stream.onnx').stat().st_size:,} |" in card and "--stream --model ." in card
    assert open_stream(exported).latency == pytest.approx(0.08)


def test_a_damaged_step_is_noticed(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "export")
    step = tmp_path / "export" / "stream.onnx"
    step.write_bytes(step.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"stream\.onnx has SHA-256"):
        open_stream(tmp_path / "export")


def test_whole_utterances_are_no_steps(tmp_path: Path, model: Path) -> None:
    _, tokenizer = load_model(model)
    other = tiny_model("chunk_conformer")
    other.architecture["chunk"] = other.encoder.chunk = 0
    other.head = torch.nn.Linear(16, len(tokenizer))
    other.classes = len(tokenizer)
    save_model(tmp_path / "model", other, tokenizer)
    with pytest.raises(ConfigError, match=r"another student\.model\.chunk, such as 16"):
        export_model(tmp_path / "model", tmp_path / "export")
    assert not (tmp_path / "export").exists()


def run(capsys: pytest.CaptureFixture[str], *options: object, status: int = 0) -> tuple[str, str]:
    assert main(["transcribe", "--stream", *map(str, options)]) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_segments_end_at_silences_and_words_have_their_times(exported, talk, capsys) -> None:
    path, words = talk
    out, _ = run(capsys, path, "--model", exported, "--format", "json")
    results = [json.loads(line) for line in out.splitlines()]
    final = [one for one in results if one["final"]]
    assert [one["text"] for one in final] == [" ".join(word for word, _, _ in said) for said in words]
    for one, said in zip(final, words, strict=True):
        for found, (word, start, end) in zip(one["words"], said, strict=True):
            assert found["word"] == word
            assert abs(found["start"] - start) < 0.11 and abs(found["end"] - end) < 0.11  # within the silence around
        assert one["end"] < said[-1][2] + 1.2


def test_what_is_stable_is_never_taken_back(exported, talk, capsys) -> None:
    out, _ = run(capsys, talk[0], "--model", exported, "--format", "json")
    before, partial = "", 0
    for one in map(json.loads, out.splitlines()):
        assert one["text"].startswith(before)
        before = "" if one["final"] else one["stable"]
        partial += not one["final"]
    assert partial > 3  # words come one after the other


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise io.UnsupportedOperation("a pipe")

        tell = seek

    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=Pipe(content)))


def test_a_file_a_pipe_and_bare_samples_are_the_same(exported, talk, capsys, monkeypatch) -> None:
    path, words = talk
    expected, _ = run(capsys, path, "--model", exported)
    assert expected == "".join(" ".join(word for word, _, _ in said) + "\n" for said in words)
    samples, _ = soundfile.read(path, dtype="int16")
    piped(monkeypatch, path.read_bytes())
    assert run(capsys, "-", "--model", exported)[0] == expected
    piped(monkeypatch, samples.tobytes())
    assert run(capsys, "-", "--raw", RATE, "--model", exported)[0] == expected
    header = bytearray(path.read_bytes())
    header[4:8] = header[40:44] = b"\xff\xff\xff\xff"  # what writes into a pipe does not know the length
    piped(monkeypatch, bytes(header))
    assert run(capsys, "-", "--model", exported)[0] == expected


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_every_width_of_samples(subtype: str) -> None:
    samples = np.stack([np.linspace(-1, 0.99, 5000), np.zeros(5000)], 1)
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, subtype=subtype, format="WAV")
    file.seek(0)
    found = np.concatenate(list(of_pipe(file, 8000, channel=1)))
    np.testing.assert_allclose(found, samples[:, 0], atol=0.01 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize("seconds", [3, 30])
@pytest.mark.parametrize("rate", [8000, 16_000])
def test_channels_of_opposite_phase_are_no_silence(seconds: int, rate: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(seconds * rate) / rate)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone, -tone], 1), rate, format="WAV")
    file.seek(0)
    with pytest.raises(DataError, match=r"channels that cancel each other .*; take one of them by --channel 1"):
        for block in of_pipe(file, 8000):
            assert len(block) or file.tell()
    assert file.tell() < 11 * rate * 4 + 100  # of a long stream it is known after ten seconds
    file.seek(0)
    assert np.abs(np.concatenate(list(of_pipe(file, 8000, channel=1)))).max() > 0.4


def test_other_rates_are_resampled() -> None:
    file = io.BytesIO()
    tone = np.sin(2 * np.pi * 300 * np.arange(44_100) / 44_100)
    soundfile.write(file, tone, 44_100, format="WAV")
    file.seek(0)
    found = np.concatenate(list(of_pipe(file, 8000)))
    assert len(found) == 8000
    np.testing.assert_allclose(found[100:-100], np.sin(2 * np.pi * 300 * np.arange(8000) / 8000)[100:-100], atol=0.01)


def test_ctm_and_srt(exported, talk, capsys) -> None:
    path, words = talk
    out, _ = run(capsys, path, "--model", exported, "--format", "ctm")
    rows = [line.split() for line in out.splitlines()]
    assert [row[4] for row in rows] == [word for said in words for word, _, _ in said]
    assert {(row[0], row[1]) for row in rows} == {("talk", "1")}
    out, _ = run(capsys, path, "--model", exported, "--format", "srt")
    cues = out.strip().split("\n\n")
    assert [cue.splitlines()[0] for cue in cues] == ["1", "2", "3"]
    assert cues[0].splitlines()[2] == " ".join(word for word, _, _ in words[0])


def test_memory_does_not_grow(exported) -> None:
    """Of silence nothing but its end is kept, and of endless speech a segment."""
    rng = np.random.default_rng(0)
    bundle = open_stream(exported)
    quiet, loud = StreamRecogniser(bundle), StreamRecogniser(bundle)
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(RATE // 5) / RATE)
    word = np.concatenate([tone, np.zeros(RATE // 10)])
    ended = []
    for _ in range(70):
        noise = 0.01 * rng.standard_normal(RATE)
        quiet.push(torch.from_numpy(noise).float())
        assert len(quiet._logits) * 0.04 < 1.1 and len(quiet._features) * 0.01 < 1.2
        speech = np.resize(word, RATE) + noise
        ended += [one for one in loud.push(torch.from_numpy(speech).float()) if one.final]
        assert len(loud._logits) * 0.04 <= LONGEST + 1
    assert len(ended) == 2 and ended[0].end == pytest.approx(ended[1].start)
    assert all(set(one.text.split()) == {"do"} for one in ended)
    assert 170 < sum(len(one.words) for one in ended) < 190  # three whole words a second


def test_the_microphone(exported, talk, capsys, monkeypatch) -> None:
    samples, _ = soundfile.read(talk[0], dtype="float32")

    class InputStream:
        def __init__(self, rate, block, *, channels, dtype, callback):
            assert (rate, channels, dtype) == (RATE, 1, "float32")
            for place in range(0, len(samples), block):
                callback(samples[place : place + block, None], block, None, None)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    fake = types.SimpleNamespace(InputStream=InputStream, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)

    class Queue(list):
        put = list.append

        def get(self):
            if not self:
                raise KeyboardInterrupt
            return self.pop(0)

    monkeypatch.setattr("seqkd.deploy.streaming.sources.queue.Queue", Queue)
    expected, _ = run(capsys, talk[0], "--model", exported)
    assert run(capsys, "--microphone", "--model", exported)[0] == expected
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    _, err = run(capsys, "--microphone", "--model", exported, status=1)
    assert err.splitlines()[-1].startswith("seqkd transcribe: the microphone needs sounddevice")
    assert "get it with: pip install sounddevice" in err


def test_what_cannot_be_streamed(exported, talk, tmp_path, capsys, monkeypatch, learned) -> None:
    export_model(learned / "student" / "seed0" / "model", tmp_path / "whole")
    _, err = run(capsys, talk[0], "--model", tmp_path / "whole", status=1)
    assert "needs whole recordings; leave out --stream, or export one that was trained to stream" in err
    piped(monkeypatch, b"hello, this is no sound")
    _, err = run(capsys, "-", "--model", exported, status=1)
    assert err.startswith(
        "seqkd transcribe: standard input is no WAV of PCM samples (file does not start with RIFF id)"
    )
    piped(monkeypatch, b"")
    _, err = run(capsys, "-", "--model", exported, status=1)
    assert "standard input is no WAV of PCM samples (it is empty)" in err
    piped(monkeypatch, b"\0" * 100)
    _, err = run(capsys, "-", "--raw", RATE, "--model", exported, status=1)
    assert "standard input lasts 6.25 ms, less than one frame of 25 ms" in err
    stereo = io.BytesIO()
    with wave.open(stereo, "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(4000))
    piped(monkeypatch, stereo.getvalue())
    _, err = run(capsys, "-", "--channel", 3, "--model", exported, status=1)
    assert "standard input has 2 channels; expected --channel 1 to 2" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stream"], "--stream takes one file"),
        (["--stream", "a.wav", "b.wav"], "--stream takes one file"),
        (["--stream", "a.wav", "--microphone"], "--stream takes one file"),
        (["--stream", "a.wav", "--raw", "16000"], "--raw is the rate of standard input"),
        (["--stream", "-", "--raw", "0"], "--raw is the rate of standard input"),
        (["--stream", "a.wav", "--beam", "4"], "leave out --beam"),
        (["--stream", "a.wav", "--silence", "0"], "--silence is 0.0; expected seconds"),
        (["--stream", "a.wav", "--chunk", "0"], "--threads and --chunk must be at least 1"),
        (["a.wav", "--silence", "1"], "--silence goes with --stream"),
        ([], "expected a file, or - for standard input"),
    ],
)
def test_options_that_do_not_go_together(options, said, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["transcribe", *options])
    assert said in capsys.readouterr().err


def test_a_page_writes_what_transcribe_writes_of_a_stream(
    exported: Path, talk: tuple[Path, list[list[tuple[str, float, float]]]], tmp_path: Path
) -> None:
    path, truths = talk
    index = page_of(exported, tmp_path / "page")
    with browser(tmp_path / "profile") as page:
        page.open(index)
        page.give(path)
        found = page.run("seqkd.transcript().words")
        assert page.run("seqkd.plotted.pieces.length") >= len(truths)  # segments
        frames = page.run("seqkd.plotted.pieces.reduce((sum, { frames }) => sum + frames, 0)")
        assert page.problems == []
    recogniser = StreamRecogniser(open_stream(exported))
    samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    results = [*recogniser.push(samples), *recogniser.finish()]
    expected = [word for result in results if result.final for word in result.words]
    assert [word["word"] for word in found] == [word.text for word in expected] == [w for t in truths for w, _, _ in t]
    assert frames == round(recogniser.seconds / 0.04)
    for one, other in zip(found, expected, strict=True):
        times = (other.start, other.end, other.confidence)
        assert (one["start"], one["end"], one["confidence"]) == pytest.approx(times, abs=2e-3)


def test_a_stream_in_8_bits(exported: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is smaller and close, `transcribe` and the page take it, and the export states how far it is off."""
    check = json.loads((exported / "export.json").read_text())["streaming"]["check"]
    assert check["largest"] < 1e-4 < check["int8_largest"] < 1
    assert 0 <= check["int8_utterances_changed"] <= check["utterances"]
    files = {name: (exported / name).stat().st_size for name in ("stream.onnx", "stream.int8.onnx")}
    assert files["stream.int8.onnx"] < files["stream.onnx"]
    small, whole = open_stream(exported, int8=True), open_stream(exported)
    features = torch.randn(1, 4 * small.chunk, small.features.num_mel_bins, generator=torch.Generator().manual_seed(0))
    length = torch.tensor([features.shape[1]])
    (ours, state), (theirs, expected) = (one.network(features, length, one.network.state()) for one in (small, whole))
    assert 0 < (ours - theirs).abs().max() < 1
    assert state.keys() == expected.keys() and all(state[key].shape == expected[key].shape for key in state)
    if shutil.which("npm"):
        assert write_page(exported, tmp_path / "page", int8=True)
        assert (tmp_path / "page" / "model" / "model.js").stat().st_size > 1000


@pytest.mark.parametrize("network", ["stream.onnx", "stream.int8.onnx"])
def test_sherpa_onnx_writes_the_same_while_someone_speaks(
    network: str, exported: Path, talk: tuple[Path, list[list[tuple[str, float, float]]]], tones: Path, tmp_path: Path
) -> None:
    """Of utterances, of a talk with pauses, and after a digital silence."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    assert write_sherpa(exported, tmp_path / "sherpa") and not write_sherpa(exported, tmp_path / "sherpa")
    bundle = open_stream(exported)
    streaming = json.loads((exported / "export.json").read_text())["streaming"]
    filters, tail = fine_count(bundle.features), tail_seconds(streaming, bundle.features)
    assert f"sample_rate={RATE}, feature_dim={filters}" in (tmp_path / "sherpa" / "README.md").read_text()
    recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
        str(tmp_path / "sherpa" / "tokens.txt"),
        str(tmp_path / "sherpa" / network),
        sample_rate=RATE,
        feature_dim=filters,
    )
    utterances = read_data_dir(tones / "dev")[:6]
    sounds = [soundfile.read(one.audio, dtype="float32")[0] for one in utterances]
    texts = [one.text for one in utterances]
    sounds.append(soundfile.read(talk[0], dtype="float32")[0])
    sounds.append(np.concatenate([sounds[1], np.zeros(RATE, np.float32), sounds[2]]))
    texts += [" ".join(word for words in talk[1] for word, _, _ in words), f"{texts[1]} {texts[2]}"]
    streams = [recognizer.create_stream() for _ in sounds]
    for stream, samples in zip(streams, sounds, strict=True):
        for piece in np.array_split(samples, 7):
            stream.accept_waveform(RATE, piece)
        stream.accept_waveform(RATE, np.zeros(round(tail * RATE), np.float32))
        stream.input_finished()
    while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
        recognizer.decode_streams(ready)  # together, each with its own state
    *found, silent = [recognizer.get_result(stream).strip() for stream in streams]
    assert found == texts[:-1]
    assert silent.startswith(texts[1]) and silent.endswith(texts[2])  # it never learned what digital silence is
    session = onnxruntime.InferenceSession(tmp_path / "sherpa" / network, providers=["CPUExecutionProvider"])
    inputs = {
        one.name: np.zeros([size if isinstance(size, int) else 1 for size in one.shape], np.float32)
        for one in session.get_inputs()
    }
    inputs["processed_lens"] = np.array([8])
    inputs["x"] -= 16  # digital silence, here the end of 8 encoder frames
    inputs["cached_val1_0"] += 8
    (log_probs,) = session.run(["log_probs"], inputs)
    assert log_probs[0, 0].argmax() in range(6) and log_probs[0, 0, 0] < 0  # of the last frame, by look-ahead
    assert (log_probs[0, 1:, 0] == 0).all()
