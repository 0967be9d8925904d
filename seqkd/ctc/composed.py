"""CTC by torch's own operator, in the meaning of the kernels: for devices and installations that have none.

torch's operator gives NaN gradients where a class is -inf or a target cannot be aligned; here those gradients are 0, as
by the kernels. Letters: B utterances, T frames, C classes.
"""

import torch
from torch import Tensor

from seqkd.ctc.arguments import bad_targets, check_labels
from seqkd.ctc.problem import Problem, Terms
from seqkd.ctc.reference import reference_nll


@torch.no_grad()
def forward(problem: Problem) -> Terms:
    """CTC of log-probabilities; what is kept for the gradient is that gradient, in the place of the occupancy.

    Raises:
        ValueError: a label that is none, if ``problem.check_labels`` and the targets are on the host.
    """
    passes, batch, frames, classes = problem.shape
    if problem.check_labels and problem.targets.device.type == "cpu":
        check_labels(problem.targets, problem.target_lengths, classes, problem.blank)
    bad = bad_targets(problem.targets, problem.target_lengths, classes, problem.blank)
    targets = problem.targets.clamp(0, max(classes - 1, 0)).repeat(passes, 1)
    lengths = [x.repeat(passes) for x in (problem.input_lengths, problem.target_lengths)]
    log_probs = problem.logits.to(problem.real).flatten(0, 1)  # (P·B, T, C)
    gradient = log_probs.new_zeros(log_probs.shape) if problem.gradient else None
    if log_probs.numel() == 0:  # torch's operator refuses these
        losses = reference_nll(log_probs, targets, *lengths, problem.blank).to(problem.real)
    else:
        by_time = log_probs.transpose(0, 1)
        frames_each, labels_each = (x.tolist() for x in lengths)
        losses, alphas = torch._ctc_loss(by_time, targets, frames_each, labels_each, problem.blank)
        if problem.gradient:
            each = torch.ones_like(losses)
            gradient = torch.ops.aten._ctc_loss_backward(
                each, by_time, targets, frames_each, labels_each, losses, alphas, problem.blank, True
            ).transpose(0, 1)
            gradient = gradient.masked_fill(log_probs.isneginf() | losses.isposinf()[:, None, None], 0.0)
    losses = losses.clamp(min=0).unflatten(0, (passes, batch)).masked_fill(bad, torch.nan)
    terms = problem.empty_terms()
    if problem.gradient:
        terms = terms._replace(occupancy=gradient.reshape(passes, batch, frames, classes).contiguous())
    return terms._replace(ctc=losses)


@torch.no_grad()
def backward(problem: Problem, terms: Terms, ctc_grad: Tensor, kd_grad: Tensor, consistency_grad: Tensor) -> Tensor:
    """(P, B, T, C): where a coefficient is 0, exactly 0; NaN where the loss is."""
    wanted = ctc_grad.masked_fill(terms.ctc.isnan() & (ctc_grad != 0), torch.nan)[..., None, None]
    gradient = (terms.occupancy * wanted).masked_fill(wanted == 0, 0.0)
    beyond = (
        torch.arange(problem.shape[2], device=gradient.device) >= problem.input_lengths.to(gradient.device)[:, None]
    )
    return gradient.masked_fill(beyond[..., None], 0.0).to(problem.logits.dtype)
