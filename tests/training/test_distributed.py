"""One process and two (gloo, CPU) see the same global batch: the gradients must be equal."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

WORKER = textwrap.dedent(
    """
    import sys
    from pathlib import Path

    import lightning
    import torch
    from safetensors.torch import save_file

    from seqkd.data.batches import _Utterances, load_corpus
    from seqkd.data.specaugment import SpecAugment
    from seqkd.data.tokens import Tokenizer
    from seqkd.models.ctc import CtcModel
    from seqkd.teachers import CheckpointTeacher
    from seqkd.training.module import CtcDistillation
    from seqkd.training.objective import Objective

    data, exp, out, world = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    tokenizer = Tokenizer.load(exp / "tokens")
    corpus = load_corpus(data, ["train"], tokenizer, ["extra"])
    ids = sorted(corpus.transcripts)[10:31]  # 21: labelled and not, shared unevenly
    torch.manual_seed(0)
    teacher = CheckpointTeacher.from_directory(exp / "teacher" / "seed0" / "model")
    model = CtcModel({**teacher.model.architecture, "dropout": 0.0}, teacher.model.features, teacher.classes)
    settings = {"updates": 2, "warmup": 1, "lr": 0.0, "final_lr": 0.0, "weight_decay": 0.0}
    module = CtcDistillation(
        model, Objective(passes=2, kd_weight=1.0, consistency_weight=0.5), tokenizer,
        SpecAugment(freq_masks=0, time_masks=0), settings, seed=0, teacher=teacher,
    )
    shares = [ids] if world == 1 else [ids[:13], ids[13:]]

    class Keep(lightning.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            if trainer.is_global_zero:
                save_file({n: p.grad.clone() for n, p in module.model.named_parameters()}, out)

    trainer = lightning.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", max_steps=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, use_distributed_sampler=False, callbacks=[Keep()],
        enable_model_summary=False,
    )
    # Which share is this process's? Its rank is in the environment from the second process on.
    import os
    loader = torch.utils.data.DataLoader(
        _Utterances(corpus), sampler=[(0, shares[int(os.environ.get("LOCAL_RANK", 0))])], batch_size=None
    )
    trainer.fit(module, loader)
    """
)


def gradients(tmp_path: Path, data: Path, exp: Path, world: int) -> dict[str, torch.Tensor]:
    script, out = tmp_path / "worker.py", tmp_path / f"gradients{world}.safetensors"
    script.write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script), str(data), str(exp), str(out), str(world)],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(out)


@pytest.mark.timeout(170)
def test_one_and_two_processes_give_the_same_gradient(tones: Path, tone_exp: Path, tmp_path: Path) -> None:
    one, two = (gradients(tmp_path, tones, tone_exp, world) for world in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].abs().max() > 0 or "feature" in name, f"{name} got no gradient"
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6 * float(one[name].abs().max()) + 1e-7)
