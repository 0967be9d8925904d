"""How fast an exported network turns sound into units, or a clip into a class.

Letters: N samples, T frames, F feature bins.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.data.features import FeatureSettings, fbank
from seqkd.decoding.greedy import greedy_decode
from seqkd.deploy.network import OnnxNetwork
from seqkd.experiment.provenance import describe_environment

PASSES = 3
CLIPS = 50


@dataclass(frozen=True)
class Speed:
    """Real-time factors (seconds of work for a second of sound) of both networks, on one thread of ``cpu``."""

    audio_seconds: float
    float32: float
    int8: float
    cpu: str


@dataclass(frozen=True)
class ClipSpeed:
    """Milliseconds of both networks for a clip of ``frames`` frames, features apart, on one thread of ``cpu``."""

    frames: int
    float32: float
    int8: float
    cpu: str


def measure(network: OnnxNetwork, int8: OnnxNetwork, settings: FeatureSettings, recordings: Sequence[Tensor]) -> Speed:
    """Time features, network and greedy search of each recording (N,) by itself; medians of `PASSES` passes.

    The networks take turns, so that whatever else the machine does meets both. Reading files is not part of it.
    """
    audio = sum(len(samples) for samples in recordings) / settings.sample_rate

    def run(network: OnnxNetwork) -> None:
        for samples in recordings:
            features = fbank(samples, settings)
            output = network(features[None], torch.tensor([len(features)]))
            greedy_decode(output.logits, output.lengths)

    middle = [spent / audio for spent in _medians(run, (network, int8), PASSES)]
    return Speed(round(audio, 1), round(middle[0], 5), round(middle[1], 5), describe_environment()["CPU"])


def measure_clip(network: OnnxNetwork, int8: OnnxNetwork, clip: Tensor) -> ClipSpeed:
    """Time the networks on a clip (T, F): medians of `CLIPS` runs, in which they take turns."""
    length = torch.tensor([len(clip)])
    middle = [1000 * spent for spent in _medians(lambda run: run(clip[None], length), (network, int8), CLIPS)]
    return ClipSpeed(len(clip), round(middle[0], 4), round(middle[1], 4), describe_environment()["CPU"])


def _medians(run: Callable[[OnnxNetwork], object], networks: Sequence[OnnxNetwork], passes: int) -> list[float]:
    """Median seconds of a run with each network, on one thread, the first pass apart."""
    times: list[list[float]] = [[] for _ in networks]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for count in range(passes + 1):
            for network, spent in zip(networks, times, strict=True):
                begin = time.perf_counter()
                run(network)
                if count:  # the first pass warms up
                    spent.append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(spent) for spent in times]
