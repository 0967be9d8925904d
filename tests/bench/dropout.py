"""Times training steps of recognisers on one CPU thread, with torch's own dropout and with `BitDropout`.

    python tests/bench/dropout.py

Steps are forward and backward of model and loss, taken in turns. It prints the rows of a table; about a minute.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from seqkd.data.features import FeatureSettings
from seqkd.losses import cons_kd_loss
from seqkd.models.ctc import CtcModel
from seqkd.models.dropout import BitDropout

SIZES = {"width": 64, "layers": 4, "hidden": 128, "subsampling_channels": 8, "kernel": 11, "dropout": 0.1}
PAIRS = 15


def step(model: CtcModel, passes: int) -> float:
    """Milliseconds of a step on 24 utterances of 2.4 s: the default student's of egs/espeak_voices."""
    features, lengths = torch.randn(24, 240, 40), torch.full((24,), 240)
    begin = time.perf_counter()
    output = model(features.repeat(passes, 1, 1), lengths.repeat(passes))
    logits, frames = output.logits.unflatten(0, (passes, -1)), output.lengths[:24]
    weights = {"kd_weight": 1.0, "consistency_weight": 0.2, "distance": "kl"}
    targets, counts = [[1, 2, 3, 4, 5]] * 24, torch.full((24,), 5)
    cons_kd_loss(logits, logits[0].detach() + 1, targets, frames, counts, **weights).total.backward()
    return 1e3 * (time.perf_counter() - begin)


def main() -> None:
    """Print a row a student and number of passes."""
    torch.set_num_threads(1)
    ours = BitDropout.forward
    print("| student | passes | torch's dropout, ms | seqkd's, ms |\n|---|---:|---:|---:|")
    for encoder, more in (("conv", {}), ("conformer", {"heads": 4})):
        for passes in (1, 2):
            torch.manual_seed(0)
            model = CtcModel({"encoder": encoder} | SIZES | more, FeatureSettings(num_mel_bins=40), 11)
            times: dict[str, list[float]] = {"theirs": [], "ours": []}
            for _ in range(PAIRS):
                for name, forward in (("theirs", nn.Dropout.forward), ("ours", ours)):
                    BitDropout.forward = forward
                    times[name].append(step(model, passes))
            theirs, bits = (statistics.median(each) for each in times.values())
            print(f"| {encoder} | {passes} | {theirs:.1f} | {bits:.1f} |", flush=True)


if __name__ == "__main__":
    main()
