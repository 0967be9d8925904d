"""One process and two (gloo, CPU) see the same global batches: weights, dev NLL and past self must be the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.pairs_corpus import make_corpus, settings

WORKER = textwrap.dedent(
    """
    import json
    import os
    import sys
    from pathlib import Path

    import lightning
    import torch
    from safetensors.torch import save_file

    from seqkd.translation.pairs import read_pairs
    from seqkd.translation.batches import _Pairs, encode_pairs, evaluation_text
    from seqkd.data.tokens import Tokenizer
    from seqkd.models.seq2seq import Seq2SeqModel
    from seqkd.training.self_knowledge import SelfKnowledge
    from seqkd.training.seq2seq import Seq2SeqDistillation
    from seqkd.training.token_objective import TokenObjective

    data, tokens, out, world = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    rank = int(os.environ.get("LOCAL_RANK", 0))
    tokenizer = Tokenizer.load(tokens)
    corpus = encode_pairs(read_pairs(data / "train"), tokenizer)
    dev = encode_pairs(read_pairs(data / "dev"), tokenizer)
    ids = sorted(corpus.sources)
    batches = [ids[start : start + 15] for start in range(0, 90, 15)]
    if world == 2:  # the same sentences, shared unevenly
        batches = [(batch[:6], batch[6:])[rank] for batch in batches]
    torch.manual_seed(0)
    architecture = {"kind": "lstm", "width": 16, "layers": 1, "decoder_layers": 1, "dropout": 0.0}
    model = Seq2SeqModel(architecture, len(tokenizer))
    training = {"updates": 6, "warmup": 1, "lr": 0.01, "final_lr": 0.1, "weight_decay": 0.0}
    knowledge = SelfKnowledge("best")
    module = Seq2SeqDistillation(model, TokenObjective(form="adaptive"), training, seed=0, knowledge=knowledge)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", max_steps=6, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, use_distributed_sampler=False, callbacks=[knowledge],
        enable_model_summary=False, val_check_interval=2, num_sanity_val_steps=0,
    )
    loader = torch.utils.data.DataLoader(_Pairs(corpus), sampler=batches, batch_size=None)
    trainer.fit(module, loader, evaluation_text(dev, 40, rank, world))
    if trainer.is_global_zero:
        save_file({**{f"model.{k}": v for k, v in model.state_dict().items()},
                   **{f"past.{k}": v for k, v in knowledge.past.state_dict().items()}}, out)
        out.with_suffix(".json").write_text(json.dumps([[r["dev_nll"], r["prior_step"]] for r in module.history]))
    """
)


def outcome(tmp_path: Path, data: Path, tokens: Path, world: int) -> tuple[dict[str, torch.Tensor], list]:
    script, out = tmp_path / "worker.py", tmp_path / f"run{world}.safetensors"
    script.write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script), str(data), str(tokens), str(out), str(world)],
        capture_output=True, text=True, env=environment, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(out), json.loads(out.with_suffix(".json").read_text())


@pytest.mark.timeout(200)
def test_two_processes_share_one_past_self(tmp_path: Path) -> None:
    from seqkd.tasks.translation import make_tokens

    data = make_corpus(tmp_path / "data")
    make_tokens(settings(tmp_path / "exp", data))
    (one, one_history), (two, two_history) = (outcome(tmp_path, data, tmp_path / "exp" / "tokens", n) for n in (1, 2))
    assert [row[1] for row in one_history] == [row[1] for row in two_history] == [None, 2, 4]
    assert [row[0] for row in two_history] == pytest.approx([row[0] for row in one_history], rel=1e-5)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)
