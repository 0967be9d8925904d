"""The network of an export directory, run by onnxruntime on the CPU.

Letters: B batch, T frames, T' encoder frames, F feature bins, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqkd.deploy.extras import need
from seqkd.errors import DataError


@dataclass(frozen=True)
class NetworkOutput:
    """``logits`` (B, T', C) float32, of a recogniser with blank at 0; ``lengths`` (B,)."""

    logits: Tensor
    lengths: Tensor


def open_session(path: Path, threads: int = 1) -> Any:
    """An ``InferenceSession`` on the CPU. Raises DataError when onnxruntime cannot load the file."""
    need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common base
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be loaded by onnxruntime ({reason}); export the model again") from error


class OnnxNetwork:
    """Features (B, T, F) to logits, like a `CtcModel` or a `Classifier`. ``threads`` are onnxruntime's for one call."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._session = open_session(path, threads)

    def __call__(self, features: Tensor, lengths: Tensor) -> NetworkOutput:
        """``features`` (B, T, F) unnormalised, ``lengths`` (B,)."""
        inputs = {"features": features.numpy(), "lengths": lengths.numpy()}
        logits, logit_lengths = self._session.run(["logits", "logit_lengths"], inputs)
        return NetworkOutput(torch.from_numpy(logits), torch.from_numpy(logit_lengths))
