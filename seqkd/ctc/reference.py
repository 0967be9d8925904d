"""The CTC loss as a textbook writes it, in float64: every other backend is tested against this one.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

import torch
from torch import Tensor


def reference_nll(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    """Negative log-likelihood of each target, summed over all its alignments; differentiable by autograd.

    ``alpha[b, s]`` is the log-probability of all ways to have read the frames so far and to stand in state s
    of ``blank y1 blank y2 ... yS blank``. A step stays, moves on by one, or skips a blank between two
    different labels. Impossible states hold -inf, and impossible targets give inf with a zero gradient.

    Args:
        log_probs: (B, T, C) normalised log-probabilities.
        targets: (B, S) labels, padded with any label.
        input_lengths: (B,) valid frames.
        target_lengths: (B,) valid labels.
        blank: class of the blank.

    Returns:
        (B,) float64.

    Paper: Graves et al., "Connectionist temporal classification", ICML 2006, 10.1145/1143844.1143891.
    """
    device = log_probs.device
    states, may_skip = states_of(targets, blank)
    emitted = log_probs.double().gather(2, states[:, None].expand(-1, log_probs.shape[1], -1))  # (B, T, 2S+1)
    losses = lattice_nll(emitted, may_skip, input_lengths.to(device), target_lengths.to(device))
    # Rounding may take a probability beyond 1; the gradient stays as it is.
    return losses + (losses.clamp(min=0) - losses).nan_to_num(0.0).detach()


def states_of(targets: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """(B, 2S+1) the class of each state, and (B, 2S+1) bool, whether the blank before it may be skipped."""
    blanks = torch.full_like(targets, blank)
    states = torch.cat([torch.stack([blanks, targets], 2).flatten(1), blanks[:, :1]], 1)
    different = torch.nn.functional.pad(targets[:, 1:] != targets[:, :-1], (1, 0))
    may_skip = torch.nn.functional.pad(torch.stack([torch.zeros_like(different), different], 2).flatten(1), (0, 1))
    return states, may_skip


def lattice_nll(emitted: Tensor, may_skip: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """(B,) of what each state emits at each frame, (B, T, 2S+1): its logarithm, which need not be normalised."""
    batch, frames, count = emitted.shape
    input_lengths, target_lengths = input_lengths.to(emitted.device), target_lengths.to(emitted.device)
    # Before the first frame nothing is read: the same as standing in the first blank.
    first = torch.arange(count, device=emitted.device) == 0
    alpha = torch.where(first, 0.0, -torch.inf).to(emitted.dtype).expand(batch, -1)
    for t in range(frames):
        stay, step, skip = alpha, _shift(alpha, 1), _shift(alpha, 2).masked_fill(~may_skip, -torch.inf)
        moved = _logsumexp(torch.stack([stay, step, skip]), 0) + emitted[:, t]
        alpha = torch.where((t < input_lengths)[:, None], moved, alpha)
    last_blank = 2 * target_lengths[:, None]
    # An empty target ends in its only state, which must not count twice.
    last_label = alpha.gather(1, (last_blank - 1).clamp(min=0)).masked_fill(last_blank == 0, -torch.inf)
    return -_logsumexp(torch.cat([alpha.gather(1, last_blank), last_label], 1), 1)


def _logsumexp(x: Tensor, dim: int) -> Tensor:
    """Like torch's, but where all is -inf the gradient is 0, not NaN."""
    impossible = x.isneginf().all(dim)
    return x.masked_fill(impossible.unsqueeze(dim), 0.0).logsumexp(dim).masked_fill(impossible, -torch.inf)


def _shift(alpha: Tensor, by: int) -> Tensor:
    """The states' values, moved on by ``by`` states; -inf enters at the front."""
    return torch.nn.functional.pad(alpha, (by, 0), value=-torch.inf)[:, : alpha.shape[1]]
