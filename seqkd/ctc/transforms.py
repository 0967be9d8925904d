"""Whether torch is transforming the program: compiling it, or mapping and differentiating it by ``torch.func``.

Then values are not to be looked at: a compiled graph has none, and a mapped tensor stands for many.
"""

import torch
from torch import Tensor


def transforming() -> bool:
    """Whether a transform of ``torch.func`` is at work."""
    return torch._C._are_functorch_transforms_active()


def batched_gradients(*grads: Tensor | None) -> bool:
    """Whether gradients come many at once, by ``torch.autograd.grad(..., is_grads_batched=True)``."""
    return any(g is not None and torch._C._functorch.is_legacy_batchedtensor(g) for g in grads)


def tracing() -> bool:
    """Whether the program is being compiled or transformed: what it does may depend on shapes alone."""
    return torch.compiler.is_compiling() or transforming()


def readable(tensor: Tensor) -> bool:
    """Whether the tensor's values can be looked at here."""
    return not torch.compiler.is_compiling() and not (
        transforming() and torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def ordinary(tensor: Tensor | None) -> Tensor | None:
    """A copy of a tensor made in inference mode, which autograd refuses to keep; others as they are."""
    if tensor is None or torch.compiler.is_compiling():
        return tensor
    return tensor.clone() if tensor.is_inference() else tensor
