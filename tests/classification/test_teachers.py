"""Teachers: a table gives what they give live, draws are seeded, and each is given the clips that it should be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seqkd.classification import teachers
from seqkd.classification.batches import ClipBatch, Clips, batch_of
from seqkd.classification.teachers import ClipTeacher, as_outputs, randomly_dropping, table_of
from seqkd.errors import DataError
from seqkd.losses import Outputs
from seqkd.losses.uncertainty import uncertainties
from tests.classification.tiny import FRAME, made_clips, tiny_model


def student_of(batch: ClipBatch, positions: int = 1) -> Outputs:
    lengths = torch.ones_like(batch.lengths) if positions == 1 else batch.lengths
    return Outputs(torch.zeros(1, len(batch.rows), positions, 4), lengths)


def made(place: Path, models: list[nn.Module], clips: Clips, draws: int = 0, data: str = "data"):
    return table_of(place, models, [f"hash{n}" for n in range(len(models))], clips, draws, data)


def test_a_table_gives_what_the_teacher_gives_live(tmp_path: Path) -> None:
    """Bit for bit for the same batch. In another, with other clips beside it, rounding may differ in the last bits."""
    clips, model = made_clips(), tiny_model()
    table, facts = made(tmp_path, [model], clips)
    assert table.shape == (1, 9, 1, 4) and facts == {}
    for rows, exact in (([*range(9)], True), ([4, 2], False)):
        batch = batch_of(clips.take(rows))
        live = ClipTeacher([model])(batch, student_of(batch))
        stored = ClipTeacher([model], table=table)(batch, student_of(batch))
        assert stored.logits.shape == live.logits.shape == (1, len(rows), 1, 4)
        assert stored.lengths.equal(live.lengths)
        torch.testing.assert_close(stored.logits, live.logits, rtol=0 if exact else 1e-5, atol=0 if exact else 1e-5)


def test_a_table_of_frames_is_cut_to_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lengths the batches had that it was computed in."""
    clips, model = made_clips(by_frame=True), tiny_model(**FRAME)
    order = clips.lengths.argsort()
    clips = replace(clips.take(order), rows=torch.arange(9))
    whole = teachers.evaluation_clips
    monkeypatch.setattr(teachers, "evaluation_clips", lambda clips: whole(clips, batch=4))
    table, _ = made(tmp_path, [model], clips)
    assert table.shape == (1, 9, 11, 4)
    batch = batch_of(clips.take([0, 2]))
    frames = batch.features.shape[1]
    assert frames < 11
    student = student_of(batch, frames)
    live, stored = (ClipTeacher([model], table=t)(batch, student) for t in (None, table))
    assert stored.logits.shape == live.logits.shape == (1, 2, frames, 4)
    torch.testing.assert_close(stored.logits[:, stored.mask], live.logits[:, live.mask], rtol=1e-5, atol=1e-5)


def test_a_table_is_computed_once_and_named_by_what_it_is_of(tmp_path: Path) -> None:
    clips, model = made_clips(), tiny_model()
    table, _ = made(tmp_path, [model], clips)
    (file,) = tmp_path.iterdir()
    again, _ = made(tmp_path, [None], clips)  # read: nobody is asked
    assert again.equal(table) and list(tmp_path.iterdir()) == [file]
    made(tmp_path, [model], clips, data="other")
    made(tmp_path, [model], clips, draws=2)
    made(tmp_path, [model, model], clips)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("how", ["torn", "keys"])
def test_a_damaged_table_is_named(how: str, tmp_path: Path) -> None:
    clips, model = made_clips(), tiny_model()
    made(tmp_path, [model], clips)
    (file,) = tmp_path.iterdir()
    if how == "torn":
        file.write_bytes(file.read_bytes()[:-5])
    else:
        save_file({"other": torch.zeros(1)}, file)
    with pytest.raises(DataError, match=r"is damaged \(.*; delete it and run it again"):
        made(tmp_path, [model], clips)


# ---- draws


def test_dropout_draws_and_all_else_is_as_in_eval_mode() -> None:
    model = randomly_dropping(tiny_model().train())
    modes = {type(layer).__name__: layer.training for layer in model.modules()}
    assert [name for name, training in modes.items() if training] == ["Dropout"]
    batch = batch_of(made_clips())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    outputs = ClipTeacher([model], draws=5)(batch, student_of(batch))
    assert outputs.logits.shape == (5, 9, 1, 4) and len({row.sum().item() for row in outputs.logits}) == 5
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    plain = ClipTeacher([model])(batch, student_of(batch)).logits
    assert plain.equal(ClipTeacher([tiny_model()])(batch, student_of(batch)).logits)  # no dropout is left on


def test_draws_of_a_table_are_always_the_same_and_disturb_no_others(tmp_path: Path) -> None:
    clips, model = made_clips(), tiny_model()
    torch.manual_seed(3)
    one, facts = made(tmp_path / "a", [model], clips, draws=4)
    torch.manual_seed(4)
    two, other_facts = made(tmp_path / "b", [model], clips, draws=4)
    assert one.equal(two) and facts == other_facts and one.shape == (4, 9, 1, 4)
    assert not one[0].equal(one[1])
    state = torch.get_rng_state()
    made(tmp_path / "c", [model], clips, draws=4)
    assert torch.get_rng_state().equal(state) and not any(layer.training for layer in model.modules())


def test_a_draw_beside_a_table_of_draws(tmp_path: Path) -> None:
    """The pass over changed clips has dropout, as the table's has."""
    clips, model = made_clips(), tiny_model(dropout=0.6)
    table, _ = made(tmp_path, [model], clips, draws=1)
    batch = batch_of(clips)
    seen = replace(batch, views=torch.stack([batch.features] * 2), clean=batch.features, unchanged=(True, False))
    torch.manual_seed(0)
    found = ClipTeacher([model], table=table, draws=1)(seen, student_of(batch)).logits
    whole = ClipTeacher([tiny_model(dropout=0.6)])(batch, student_of(batch)).logits[0]
    assert found.shape[0] == 2 and not torch.allclose(found[1], whole)
    assert ClipTeacher([model], table=table, draws=1)(batch, student_of(batch)).logits.equal(table)


def test_facts_are_about_the_clips_that_are_learned_from(tmp_path: Path) -> None:
    """Of a fold: what its tests are like must not be known. The table of another fold is another file."""
    for name, clips, model in (
        ("clip", made_clips(), tiny_model()),
        ("frame", made_clips(by_frame=True), tiny_model(**FRAME)),
    ):
        found = []
        for rows in ([0, 3, 4], [1, 2, 5]):
            table, facts = table_of(tmp_path / name, [model], ["hash0"], clips, 4, "data", rows)
            assert table.shape[1] == 9  # of all clips
            _, _, aleatoric, _ = uncertainties(table.double())
            valid = (clips.targets >= 0) & torch.isin(torch.arange(9), torch.tensor(rows))[:, None]
            assert facts["aleatoric"] == pytest.approx(float(aleatoric[valid].mean() / math.log(4)), rel=1e-4)
            assert table_of(tmp_path / name, [None], ["hash0"], clips, 4, "data", rows)[1] == facts
            found.append(facts["aleatoric"])
        assert found[0] != pytest.approx(found[1], rel=1e-3)
        assert len(list((tmp_path / name).iterdir())) == 2


def test_facts_are_means_of_uncertainty_over_the_labels(tmp_path: Path) -> None:
    table, facts = made(tmp_path / "clip", [tiny_model()], made_clips(), draws=4)
    _, total, aleatoric, epistemic = uncertainties(table.double())
    means = {"aleatoric": aleatoric, "epistemic": epistemic, "total": total}
    expected = {name: float(value.mean() / math.log(4)) for name, value in means.items()}
    assert facts == pytest.approx(expected, rel=1e-4)
    assert facts["total"] == pytest.approx(facts["aleatoric"] + facts["epistemic"], rel=1e-4)
    stored, again = made(tmp_path / "clip", [None], made_clips(), draws=4)
    assert again == facts and stored.equal(table)
    clips = made_clips(by_frame=True)
    table, facts = made(tmp_path / "frame", [tiny_model(**FRAME)], clips, draws=2)
    valid = clips.targets >= 0
    _, _, aleatoric, _ = uncertainties(table.double())
    assert facts["aleatoric"] == pytest.approx(float(aleatoric[valid].mean() / math.log(4)), rel=1e-4)
    teacher = ClipTeacher([None], table=table, facts=facts)
    batch = batch_of(clips)
    assert teacher(batch, student_of(batch, 11)).facts == facts
    (file,) = (tmp_path / "frame").iterdir()
    assert load_file(file).keys() == {"logits", "aleatoric", "epistemic", "total"}


# ---- who is given what


class Seen(nn.Module):
    """A network that gives back what it is given: the mean of its features as logits."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, features: Tensor, lengths: Tensor, layers=()):
        from seqkd.models.classifier import ClassifierOutput

        logits = self.scale * features.mean((1, 2))[:, None, None].expand(-1, 1, 4)
        return ClassifierOutput(logits, torch.ones_like(lengths), dict.fromkeys(layers, (features, lengths)))


def test_views_are_given_one_by_one_or_the_clips_as_they_are() -> None:
    batch = batch_of(made_clips())
    seen = replace(batch, views=torch.stack([batch.features + 1, batch.features + 2]), clean=batch.features)
    table = torch.full((1, 9, 1, 4), 7.0)
    mean = batch.features.mean((1, 2))
    given = lambda seen, **options: ClipTeacher([Seen()], **options)(seen, student_of(seen)).logits[..., 0, 0]  # noqa: E731
    torch.testing.assert_close(given(seen, table=table), torch.stack([mean + 1, mean + 2]))
    torch.testing.assert_close(given(seen, clean=True), mean[None])
    torch.testing.assert_close(given(batch), mean[None])
    assert (given(seen, clean=True, table=table) == 7).all() and (given(batch, table=table) == 7).all()
    half = replace(seen, unchanged=(True, False))  # only the second needs the teacher
    torch.testing.assert_close(given(half, table=table), torch.stack([torch.full_like(mean, 7.0), mean + 2]))
    torch.testing.assert_close(given(half), torch.stack([mean + 1, mean + 2]))
    torch.testing.assert_close(
        given(replace(half, mixed=batch.targets), table=table), torch.stack([mean + 1, mean + 2])
    )
    mixed = replace(batch, mixed=batch.targets, share=torch.ones(9))
    torch.testing.assert_close(given(mixed, table=table), mean[None])  # the mixture, live
    torch.testing.assert_close(given(replace(seen, mixed=batch.targets), clean=True, table=table), mean[None])


def test_several_teachers_stand_one_after_the_other(tmp_path: Path) -> None:
    clips = made_clips()
    batch = batch_of(clips)
    mean = batch.features.mean((1, 2))
    outputs = ClipTeacher([Seen(1.0), Seen(3.0)], layers=["stage1"])(batch, student_of(batch))
    torch.testing.assert_close(outputs.logits[..., 0, 0], torch.stack([mean, 3 * mean]))
    assert outputs.layers["stage1"].values.shape == (2, *batch.features.shape)
    assert (outputs.layers["stage1"].values == 0)[:, ~outputs.layers["stage1"].mask].all()
    models = [tiny_model(0), tiny_model(1, widths=[3, 3, 3])]
    assert outputs.teachers == 2
    table, facts = made(tmp_path, models, clips)
    assert ClipTeacher(models, table=table)(batch, student_of(batch)).teachers == 2
    for number, model in enumerate(models):
        assert table[number].equal(ClipTeacher([model])(batch, student_of(batch)).logits[0])
    assert set(facts) == {"aleatoric", "epistemic", "total"}  # members of an ensemble are draws


def test_in_train_mode_a_teacher_normalises_by_the_batch() -> None:
    model, batch = tiny_model(dropout=0.0), batch_of(made_clips())
    by_batch = ClipTeacher([model], mode="train")(batch, student_of(batch)).logits
    model = tiny_model(dropout=0.0)
    before = model.stages[0].norm1.running_mean.clone()
    by_running = ClipTeacher([model])(batch, student_of(batch)).logits
    assert model.stages[0].norm1.running_mean.equal(before)
    assert (by_batch - by_running).abs().max() > 0.01
    assert not by_batch.requires_grad


def test_in_train_mode_nothing_is_dropped() -> None:
    batch = batch_of(made_clips())
    outputs = [
        ClipTeacher([model := tiny_model(dropout=0.6)], mode="train")(batch, student_of(batch)).logits for _ in "12"
    ]
    without = ClipTeacher([tiny_model(dropout=0.0)], mode="train")(batch, student_of(batch)).logits
    assert outputs[0].equal(outputs[1]) and outputs[0].equal(without)
    assert {type(layer).__name__ for layer in model.modules() if not layer.training} == {"Dropout"}


def test_outputs_of_passes_are_stacked() -> None:
    model, batch = tiny_model(), batch_of(made_clips())
    found = [model(batch.features + n, batch.lengths, ["hidden", "stage2"]) for n in (0, 1)]
    outputs = as_outputs(found)
    assert outputs.logits.shape == (2, 9, 1, 4) and outputs.logits[1].equal(found[1].logits)
    assert outputs.layers["stage2"].values.shape == (2, 9, 6, 4)
    assert outputs.layers["stage2"].lengths.equal(-(-batch.lengths // 2))
    assert outputs.layers["hidden"].lengths.tolist() == [1] * 9
