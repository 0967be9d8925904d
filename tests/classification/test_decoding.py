"""Decoding: what is written of each position, with all classes or a subset, and of each fold by its own model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqkd.classification import decoding
from seqkd.classification.batches import Clips
from seqkd.classification.decoding import FILE, Decoded, decode_clips, read_decoded, write_decoded
from seqkd.classification.measures import ACCURACY, BALANCED, MACRO_F1
from seqkd.classification.model import load_classifier
from seqkd.errors import DataError
from seqkd.losses.outputs import IGNORE
from seqkd.models.classifier import ClassifierOutput
from seqkd.tasks.classification import TASK
from seqkd.tasks.classification.work import ClipData
from seqkd.training.run import train
from tests.classification.tiny import FRAME, made_clips, tiny_model
from tests.clip_corpus import settings


class Table(nn.Module):
    """Logits of clip n are row n: its one feature is n."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, features: Tensor, lengths: Tensor) -> ClassifierOutput:
        return ClassifierOutput(self.logits[features[:, 0, 0].long()][:, None], torch.ones_like(lengths))


def numbered(targets: list[int]) -> Clips:
    count = len(targets)
    rows = torch.arange(count)
    return Clips(rows[:, None, None].float(), torch.ones(count, dtype=torch.long), torch.tensor(targets)[:, None], rows)


PROBS = torch.tensor([[0.7, 0.2, 0.05, 0.05], [0.1, 0.4, 0.3, 0.2], [0.25, 0.1, 0.05, 0.6]], dtype=torch.float64)


def test_each_clip_has_its_class_confidence_and_scores() -> None:
    found = decode_clips(Table(PROBS.log() + 3), numbered([0, 2, 3]))
    assert found.predicted.tolist() == [0, 1, 3] and found.lengths.tolist() == [1, 1, 1]
    assert found.rows.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.confidence, [0.7, 0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(found.nll, -np.log([0.7, 0.3, 0.6]), rtol=1e-6)
    one_hot = np.eye(4)[[0, 2, 3]]
    np.testing.assert_allclose(found.brier, ((PROBS.numpy() - one_hot) ** 2).sum(1), rtol=1e-5)


def test_of_a_subset_the_rest_is_normalised() -> None:
    """By a model of all classes; and by one that has these alone, whose outputs count from 0."""
    found = decode_clips(Table(PROBS.log()), numbered([1, 3, 3]), subset=(1, 3))
    rest = PROBS[:, [1, 3]] / PROBS[:, [1, 3]].sum(1, keepdim=True)
    assert found.predicted.tolist() == [1, 1, 3]
    np.testing.assert_allclose(found.confidence, rest.max(1).values, rtol=1e-6)
    np.testing.assert_allclose(found.nll, -np.log([rest[0, 0], rest[1, 1], rest[2, 1]]), rtol=1e-6)
    own = decode_clips(Table(rest.log()), numbered([1, 3, 3]), subset=(1, 3))
    for name, value in vars(found).items():
        np.testing.assert_allclose(getattr(own, name), value, rtol=1e-6)


def test_frames_follow_each_other_clip_by_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    clips, model = made_clips(by_frame=True), tiny_model(**FRAME)
    whole = decode_clips(model, clips)
    assert whole.lengths.tolist() == clips.lengths.tolist() and len(whole.predicted) == int(clips.lengths.sum())
    at = 0
    for row, length in enumerate(clips.lengths.tolist()):
        alone = model(clips.features[row : row + 1, :length], clips.lengths[row : row + 1]).logits[0].log_softmax(-1)
        expected = -alone.gather(1, clips.targets[row, :length, None])[:, 0].detach().numpy()
        np.testing.assert_allclose(whole.nll[at : at + length], expected, rtol=1e-4, atol=1e-5)
        at += length
    several = decoding.evaluation_clips
    monkeypatch.setattr(decoding, "evaluation_clips", lambda clips: several(clips, batch=2))
    for name, value in vars(decode_clips(model, clips)).items():
        np.testing.assert_allclose(value, getattr(whole, name), rtol=1e-4, atol=1e-5)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = decode_clips(tiny_model(), made_clips())
    write_decoded(tmp_path, made, {"model": "x"})
    for name, value in vars(read_decoded(tmp_path)).items():
        assert np.array_equal(value, getattr(made, name)) and value.dtype == getattr(made, name).dtype


@pytest.mark.parametrize("how", ["stamp", "torn", "missing", "keys"])
def test_a_decoding_that_is_not_whole_is_one_sentence(how: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    write_decoded(tmp_path, decode_clips(tiny_model(), made_clips()), {"model": "x"})
    if how == "stamp":
        (tmp_path / "decode.json").unlink()
    elif how == "torn":
        (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-3])
    elif how == "missing":
        (tmp_path / FILE).unlink()
    else:
        save_file({"predicted": np.zeros(3)}, tmp_path / FILE)
    with pytest.raises(DataError) as caught:
        read_decoded(tmp_path)
    said = f"{tmp_path} has nothing decoded; " if how == "stamp" else f"{tmp_path / FILE} is damaged ("
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


# ---- of runs


def test_a_run_is_decoded_once_and_counted(clips_data: Path, clips_exp: Path) -> None:
    cfg = settings(clips_exp, clips_data, "system=teacher")
    run = clips_exp / "teacher" / "seed0"
    TASK.decode(cfg, run, "test")
    file = run / "decode_test" / FILE
    first = file.stat().st_mtime_ns
    TASK.decode(cfg, run, "test")
    assert file.stat().st_mtime_ns == first
    table, decoded = TASK.count(cfg, run, "test"), read_decoded(run / "decode_test")
    targets = ClipData(cfg).targets("test")[:, 0]
    sums = table.total()
    assert sums["positions"] == 12 and sums["true"].tolist() == np.bincount(targets, minlength=3).tolist()
    right = decoded.predicted == targets
    assert sums["right"] == right.sum() == sums["hit"].sum()
    assert ACCURACY.value(sums) == pytest.approx(right.mean())
    assert sums["found"].tolist() == np.bincount(decoded.predicted, minlength=3).tolist()
    assert np.isfinite([BALANCED.value(sums), MACRO_F1.value(sums), sums["nll"], sums["brier"]]).all()
    clips = ClipData(cfg).clips("test")
    log_probs = load_classifier(run / "model")[0](clips.features, clips.lengths).logits[:, 0].log_softmax(-1)
    expected = -log_probs.gather(1, torch.from_numpy(targets)[:, None]).sum().item()
    assert float(sums["nll"]) == pytest.approx(expected, rel=1e-4)


def test_folds_are_decoded_by_the_model_that_did_not_learn_them(clips_data: Path, tmp_path: Path) -> None:
    """Of a subset of the classes, which all clips of the training set have."""
    options = ("folds=4", "sets.test=[train]", "system=subset", "classes.subset=[low,rising]")
    cfg = settings(tmp_path, clips_data, *options, "student.training.updates=2", "student.training.validate_every=1")
    run = train(TASK, cfg)
    TASK.decode(cfg, run, "train")
    decoded, data = read_decoded(run / "decode_train"), ClipData(cfg)
    clips, folds = data.set("train"), np.array(data.set("train").folds)
    rows = [row for row, label in enumerate(clips.labels) if label != "high"]
    assert decoded.rows.tolist() == rows
    everything = data.clips("train")
    for fold in range(4):
        model, made = load_classifier(run / "model" / f"fold{fold}")
        assert made.classes == ("low", "rising")
        ours = [row for row in rows if folds[row] == fold]
        alone = decode_clips(model, everything.take(ours), (0, 2))
        places = np.isin(decoded.rows, ours)
        assert decoded.predicted[places].tolist() == alone.predicted.tolist()
        np.testing.assert_allclose(decoded.nll[places], alone.nll, rtol=1e-5)
    assert TASK.count(cfg, run, "train").total()["positions"] == len(rows)
    summary = (run / "summary.json").read_text()
    assert '"clips": 8' in summary  # of two classes, half of the four folds


def test_folds_of_frames_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips whose numbers of labels differ, decoded fold by fold, come back in the order of the set."""
    from types import SimpleNamespace

    from seqkd.tasks.classification import deciding

    clips = made_clips(by_frame=True)
    model = tiny_model(**FRAME)
    monkeypatch.setattr(deciding, "_model", lambda _: model)
    data = SimpleNamespace(set=lambda _: SimpleNamespace(folds=(2, 0, 1, 0, 2, 1, 0, 2, 1)))
    cfg = SimpleNamespace(folds=3, data=tmp_path)
    found = deciding._by_fold(cfg, tmp_path, data, clips, "train", None)
    expected = decode_clips(model, clips)
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-4, atol=1e-5)


def test_counts_refuse_a_decoding_of_other_clips(clips_data: Path, clips_exp: Path, tmp_path: Path) -> None:
    cfg = settings(clips_exp, clips_data, "system=teacher")
    made = decode_clips(load_classifier(clips_exp / "teacher" / "seed0" / "model")[0], ClipData(cfg).clips("test"))
    wrong: list[tuple[Decoded, str]] = [
        (replace(made, rows=made.rows + 1), "has clips that test lacks"),
        (replace(made, predicted=made.predicted[1:]), "has other lengths than test"),
    ]
    for decoded, said in wrong:
        write_decoded(tmp_path / "decode_test", decoded, {})
        with pytest.raises(DataError, match=said):
            TASK.count(cfg, tmp_path, "test")
    assert IGNORE not in ClipData(cfg).targets("test")
