"""What the page computes, against what seqkd computes."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from seqkd.data.features import FeatureSettings, fbank
from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import train_tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.inputs import penalised
from seqkd.deploy.audio import cut
from seqkd.deploy.boundaries import Sound, widen
from seqkd.deploy.words import FrameTimes, timed_words
from tests.deploy.web.scripts import needs_node, run

pytestmark = needs_node
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Ten recordings of digits at 16 kHz, with noise."""
    pytest.importorskip("espeakng_loader")
    from seqkd.corpora.speech.espeak_voices import make_corpus

    data = tmp_path_factory.mktemp("speech")
    sets = {"dev": {"utterances": 10, "split": "dev", "snr_db": [5, 20], "reverb": 0.5}}
    make_corpus(data, nj=1, seed=1, sets=sets, text={"vocabulary": "digits"})
    return [soundfile.read(one.audio, dtype="float32")[0] for one in read_data_dir(data / "dev")]


COMPUTE = "return input.map(({ settings, samples }) => new seqkd.Fbank(settings).compute(samples));"


def apart(settings: FeatureSettings, recordings: list[np.ndarray]) -> float:
    """The greatest difference from torchaudio's features."""
    given = [{"settings": vars(settings), "samples": samples} for samples in recordings]
    found = run(["features"], COMPUTE, given)
    expected = [fbank(torch.from_numpy(samples), settings).numpy() for samples in recordings]
    assert [len(one) for one in found] == [one.size for one in expected]
    return max(np.abs(a - b.reshape(-1)).max() for a, b in zip(found, expected, strict=True))


def test_features_of_ten_recordings_are_torchaudios(speech: list[np.ndarray]) -> None:
    assert len(speech) == 10
    for bins in (40, 80):
        assert apart(FeatureSettings(16000, bins), speech) < 1e-3


@pytest.mark.parametrize("settings", [FeatureSettings(8000, 20), FeatureSettings(22050, 64, 32.0, 7.5)])
def test_features_of_other_rates_lengths_and_of_silence(settings: FeatureSettings) -> None:
    window = int(settings.sample_rate * settings.frame_length_ms / 1000)
    lengths = [window, window + 1, 2 * window + 3, *RNG.integers(window, 5 * window, 5)]
    noise = [RNG.uniform(-1, 1, length).astype(np.float32) for length in lengths]
    assert apart(settings, [*noise, np.zeros(3 * window, np.float32)]) < 1e-3


RESAMPLE = """
const { samples, from, to, cuts } = input;
const resampler = new seqkd.Resampler(from, to);
const parts = cuts.map((cut, n) => resampler.push(samples.subarray(n ? cuts[n - 1] : 0, cut)));
return [seqkd.resample(samples, from, to), seqkd.joined([...parts, resampler.end()])];
"""


@pytest.mark.parametrize(("start", "to"), [(44100, 16000), (48000, 8000), (8000, 16000), (22050, 16000)])
def test_resampling_is_soxrs_and_can_be_done_in_parts(start: int, to: int) -> None:
    seconds, lowest = 0.5, min(start, to)
    white = RNG.standard_normal(round(seconds * lowest)).astype(np.float32)
    samples = 0.1 * soxr.resample(white, lowest, start)[: round(seconds * start)]
    cuts = [1, 7, 500, 501, 3000, len(samples)]
    whole, parts = run(["audio"], RESAMPLE, {"samples": samples, "from": start, "to": to, "cuts": cuts})
    np.testing.assert_array_equal(whole, parts)
    expected = soxr.resample(samples, start, to)
    assert abs(len(whole) - len(expected)) <= 1
    length = min(len(whole), len(expected))
    error = (whole[:length] - expected[:length])[100:-100]
    # They differ in the last tenth below the lower Nyquist frequency, where both fall off.
    spectrum = np.abs(np.fft.rfft(error)) / np.abs(np.fft.rfft(expected[:length][100:-100])).mean()
    kept = np.fft.rfftfreq(len(error), 1 / to) < 0.43 * lowest
    assert spectrum[kept].max() < 0.02


CUT = """
const cutter = new seqkd.Cutter(input.rate);
const pieces = [];
let at = 0;
for (const length of input.blocks) pieces.push(...cutter.push(input.samples.subarray(at, (at += length))));
return [...pieces, cutter.rest].map(({ start, samples }) => [start, samples.length]);
"""


def test_long_recordings_are_cut_where_transcribe_cuts_them() -> None:
    rate = 400
    samples = RNG.standard_normal(130 * rate).astype(np.float32)
    samples[20 * rate : 21 * rate] = 0  # several windows are as quiet
    blocks = [10 * rate] * 13
    found = run(["audio"], CUT, {"samples": samples, "rate": rate, "blocks": blocks})
    pieces = list(cut(np.split(samples, np.cumsum(blocks)[:-1]), rate))
    assert len(pieces) > 4
    assert found == [[piece.start, len(piece.samples)] for piece in pieces]


PARSE = """
return input.map((text) => {
  const binary = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const wav = seqkd.parseWav(binary.buffer);
  return wav && { rate: wav.rate, samples: seqkd.average(wav.channels) };
});
"""


def test_wav_files_are_read_as_soundfile_reads_them() -> None:
    kinds = [("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")]
    kinds += [("WAVEX", "PCM_16"), ("WAVEX", "FLOAT")]
    files, expected = [], []
    for number, (form, kind) in enumerate(kinds):
        samples = RNG.uniform(-1, 1, (501, 1 + number % 3))
        file = io.BytesIO()
        soundfile.write(file, samples, 11025, subtype=kind, format=form)
        files.append(base64.b64encode(file.getvalue()).decode())
        file.seek(0)
        expected.append(soundfile.read(file, dtype="float32", always_2d=True)[0].mean(1))
    others = [base64.b64encode(content).decode() for content in (b"", b"RIFF", b"ID3" + bytes(60))]
    ulaw = io.BytesIO()
    soundfile.write(ulaw, np.zeros(9), 8000, subtype="ULAW", format="WAV")
    found = run(["audio"], PARSE, [*files, *others, base64.b64encode(ulaw.getvalue()).decode()])
    assert found[-4:] == [None] * 4  # left to the browser
    for one, samples in zip(found[:-4], expected, strict=True):
        assert one["rate"] == 11025
        np.testing.assert_allclose(one["samples"], samples, atol=1e-7)


WORDS = """
return input.map(({ logits, features, penalty, units, bins }) => {
  const decoded = seqkd.best(logits, logits.length / units.length, units.length, penalty);
  const words = seqkd.timedWords(decoded, units, 0.04, 0.005);
  return seqkd.widen(words, seqkd.levels(features, features.length / bins, bins), 0.01);
});
"""


@pytest.mark.parametrize(("kind", "boundary"), [("word", "before"), ("char", "before"), ("char", "between")])
def test_words_times_and_confidences_are_those_of_transcribe(kind: str, boundary: str) -> None:
    tokenizer = train_tokenizer(["do re mi", "re do fa"], type=kind, vocab_size=0, word_boundary=boundary)
    classes, bins, given, expected = len(tokenizer), 4, [], []
    for case in range(30):
        frames = int(RNG.integers(1, 40))
        logits = RNG.standard_normal((frames, classes)).astype(np.float32) * 3
        logits[:, 0] += 2
        logits[:, 1] -= 50  # the unknown unit is never trained
        features = RNG.normal(0, 1, (4 * frames - int(RNG.integers(4)), bins)).astype(np.float32)
        features *= 1 + 3 * (np.arange(len(features)) % 90 > 45)[:, None]  # with pauses
        penalty = float(case % 3)
        given.append(
            {"logits": logits, "features": features, "penalty": penalty, "units": tokenizer.units, "bins": bins}
        )
        lowered = penalised(torch.from_numpy(logits), 0, penalty)
        (tokens,) = greedy_decode(lowered[None], torch.tensor([frames]))
        words = timed_words(lowered, tokens, tokenizer.decode, FrameTimes(0.04, 0.005))
        expected.append(widen(words, Sound.of(torch.from_numpy(features), 0.01)))
    found = run(["words"], WORDS, given)
    assert sum(map(len, expected)) > 60
    for ours, theirs in zip(found, expected, strict=True):
        assert [word["text"] for word in ours] == [word.text for word in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one["start"] == pytest.approx(other.start, abs=1e-9)
            assert one["end"] == pytest.approx(other.end, abs=1e-9)
            assert one["confidence"] == pytest.approx(other.confidence, abs=1e-5)


def test_the_page_names_every_script(tmp_path: Path) -> None:
    from importlib import resources

    from seqkd.deploy.web.page import SOURCES

    static = resources.files("seqkd.deploy.web") / "static"
    page = (static / "index.html").read_text("utf-8")
    assert {one.name for one in static.iterdir()} == {"index.html", *SOURCES}
    assert all(f'"page/{name}"' in page for name in SOURCES)
