"""How fast an exported network turns sound into units.

Letters: N samples.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.data.features import FeatureSettings, fbank
from seqkd.decoding.greedy import greedy_decode
from seqkd.deploy.network import OnnxNetwork
from seqkd.experiment.provenance import describe_environment

PASSES = 3


@dataclass(frozen=True)
class Speed:
    """Real-time factors (seconds of work for a second of sound) of both networks, on one thread of ``cpu``."""

    audio_seconds: float
    float32: float
    int8: float
    cpu: str


def measure(network: OnnxNetwork, int8: OnnxNetwork, settings: FeatureSettings, recordings: Sequence[Tensor]) -> Speed:
    """Time features, network and greedy search of each recording (N,) by itself; medians of `PASSES` passes.

    The networks take turns, so that whatever else the machine does meets both. Reading files is not part of it.
    """
    audio = sum(len(samples) for samples in recordings) / settings.sample_rate
    times: tuple[list[float], list[float]] = ([], [])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for count in range(PASSES + 1):
            for run, spent in zip((network, int8), times, strict=True):
                begin = time.perf_counter()
                for samples in recordings:
                    features = fbank(samples, settings)
                    output = run(features[None], torch.tensor([len(features)]))
                    greedy_decode(output.logits, output.lengths)
                if count:  # the first pass warms up
                    spent.append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    middle = [statistics.median(spent) / audio for spent in times]
    return Speed(round(audio, 1), round(middle[0], 5), round(middle[1], 5), describe_environment()["CPU"])
