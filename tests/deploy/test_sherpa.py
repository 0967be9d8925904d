"""``seqkd export --sherpa``: sherpa-onnx recognises what ``seqkd transcribe`` recognises."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from seqkd.cli.main import main
from seqkd.data.features import FeatureSettings, fbank
from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import train_tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.deploy.bundle import Bundle, open_bundle
from seqkd.deploy.sherpa.folder import SHERPA_FILES, unmet, write_sherpa
from seqkd.deploy.sherpa.graph import filters, fine_count, sherpa_fbank, summation
from seqkd.deploy.transcribe import transcribe
from seqkd.deploy.words import FrameTimes
from tests.deploy.conftest import LEARNED
from tests.runs import arguments
from tests.tone_corpus import RATE


@pytest.fixture(scope="module")
def folder(learned: Path, exported: Path, tones: Path) -> Path:
    """The folder of the tone model. Not to be changed."""
    assert main(["export", "--sherpa", *arguments(learned, tones, *LEARNED, "export.licence=CC0-1.0")]) == 0
    return exported.with_name("sherpa-onnx")


def recognise(folder: Path, network: str, samples: np.ndarray, rate: int) -> tuple[str, list[float]]:
    """Text and the times of units, by sherpa-onnx, set up as README.md says."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    recognizer = sherpa_onnx.OfflineRecognizer.from_zipformer_ctc(
        str(folder / network),
        str(folder / "tokens.txt"),
        sample_rate=RATE,
        feature_dim=fine_count(FeatureSettings(RATE, 20)),
    )
    stream = recognizer.create_stream()
    stream.accept_waveform(rate, samples)
    recognizer.decode_stream(stream)
    return stream.result.text, stream.result.timestamps


@pytest.mark.parametrize("network", ["model.onnx", "model.int8.onnx"])
def test_transcripts_are_those_of_transcribe(folder: Path, exported: Path, tones: Path, network: str) -> None:
    bundle = open_bundle(exported, int8="int8" in network)
    for utterance in read_data_dir(tones / "dev"):
        text, times = recognise(folder, network, *soundfile.read(utterance.audio, dtype="float32"))
        expected = transcribe(bundle, utterance.audio)
        assert text == expected.text == utterance.text
        for time, word in zip(times, expected.words, strict=True):
            assert word.start - 0.08 < time < word.end + 0.08


def test_a_penalty_of_the_blank_is_in_the_graph(exported: Path, tones: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "export")
    stated = json.loads((exported / "export.json").read_text()) | {"decoding": {"blank_penalty": 40.0}}
    (tmp_path / "export" / "export.json").write_text(json.dumps(stated))
    assert write_sherpa(tmp_path / "export", tmp_path / "sherpa")
    utterance = read_data_dir(tones / "dev")[0]
    text, _ = recognise(tmp_path / "sherpa", "model.onnx", *soundfile.read(utterance.audio, dtype="float32"))
    assert text == transcribe(open_bundle(tmp_path / "export"), utterance.audio).text
    assert text not in ("", utterance.text)


@pytest.mark.parametrize(
    "settings", [FeatureSettings(8000, 20), FeatureSettings(16000, 40), FeatureSettings(16000, 80)]
)
def test_wide_filters_are_sums_of_narrow_ones(settings: FeatureSettings) -> None:
    fine, ours = filters(settings, fine_count(settings), 400.0), filters(settings, settings.num_mel_bins, 0.0)
    assert (fine.sum(1) > 0.1).all()
    weights = summation(settings).double().T
    assert (weights >= 0).all()
    sums = weights @ fine
    torch.testing.assert_close(sums.sum(1), ours.sum(1), rtol=1e-5, atol=0)
    reach = int(0.85 * (1 - 800 / settings.sample_rate) * ours.shape[1])  # well below where theirs end
    inside = ours[:, reach:].sum(1) == 0
    assert inside.sum() > 0.6 * len(ours)
    off = (sums - ours)[inside].abs().sum(1) / ours[inside].sum(1)
    assert off.mean() < 0.12


def test_the_graph_maps_theirs_to_ours(folder: Path, exported: Path) -> None:
    """Noise, a quieter half, digital silence: the same units, nearly the same log-probabilities."""
    import onnxruntime

    settings, rng = FeatureSettings(RATE, 20), np.random.default_rng(0)
    samples = np.concatenate([0.1 * rng.standard_normal(RATE), 1e-3 * rng.standard_normal(RATE), np.zeros(RATE)])
    given = torch.from_numpy(samples.astype(np.float32))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = {"x": sherpa_fbank(given, settings)[None].numpy(), "x_lens": np.array([300])}
    found, lengths = session.run(["log_probs", "log_probs_lens"], inputs)
    expected = open_bundle(exported).network(fbank(given, settings)[None], torch.tensor([300]))
    assert lengths.tolist() == expected.lengths.tolist()
    apart = np.abs(found - expected.logits.log_softmax(-1).numpy())[0]
    assert apart[55:].max() < 1e-3  # silence is silence
    assert np.median(apart[:50]) < 0.5
    assert greedy_decode(torch.from_numpy(found), expected.lengths) == greedy_decode(expected.logits, expected.lengths)


def test_what_is_written(folder: Path, exported: Path, learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    assert sorted(path.name for path in folder.iterdir()) == sorted([*SHERPA_FILES, "export.json"])
    units = json.loads((exported / "tokenizer.json").read_text())["units"]
    lines = [line.split(" ") for line in (folder / "tokens.txt").read_text().splitlines()]
    assert lines == [[unit, str(index)] for index, unit in enumerate(units)]
    metadata = {one.key: one.value for one in onnx.load(folder / "model.onnx").metadata_props}
    assert metadata["model_type"] == "zipformer2_ctc"
    assert metadata["vocab_size"] == str(len(units))
    card = (folder / "README.md").read_text()
    assert f"feature_dim={fine_count(FeatureSettings(RATE, 20))}" in card
    assert "| dev | 8 | 0 | 0 |" in card
    capsys.readouterr()
    other = folder.with_name("again")
    for state in ("written", "is up to date"):
        assert main(["export", "--sherpa", "--model", str(exported), "--out", str(other)]) == 0
        assert capsys.readouterr().out == f"{other}: {state}\n"
    assert "No test set was at hand" in (other / "README.md").read_text()


def test_what_sherpa_cannot_run_is_one_sentence(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = open_bundle(exported)
    assert unmet(bundle) is None

    def says(sentence: str, **changed: object) -> None:
        reason = unmet(replace(bundle, **changed))  # type: ignore[arg-type]
        assert reason is not None and reason.startswith(sentence)

    features = replace(bundle.features, frame_shift_ms=12.5)
    says("its features have frame_shift_ms 12.5, sherpa-onnx computes them with 10 only; ", features=features)
    says("it has an output every 2 frames, sherpa-onnx takes every 4", times=FrameTimes(0.02, 0.005))
    hausa = train_tokenizer(["ƙ a ƙasa"], type="char", vocab_size=0)
    says("sherpa-onnx takes units whose highest byte is C6 for byte-level BPE; ", tokenizer=hausa)
    silence = train_tokenizer(["SIL SILENCE SIL", "SIL"], type="bpe", vocab_size=16, word_boundary="before")
    assert isinstance(replace(bundle, tokenizer=silence), Bundle)
    assert ("SIL" in silence.units) == (unmet(replace(bundle, tokenizer=silence)) is not None)


def test_other_tasks_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", "--web", "--task", "classification", "--exp", str(tmp_path), "--data", str(tmp_path)]
    assert main(command) == 1
    assert "--sherpa and --web are for speech recognisers, but --task is classification" in capsys.readouterr().err
