"""Label smoothing per target token: by a dynamic amount (self-knowledge), by a fixed one, and the confidence penalty.

Letters: B sentences, S target positions, C classes, N valid positions, R positions of one chunk.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from seqkd.ctc.arguments import REDUCTIONS, check_choice, check_logits
from seqkd.ctc.frames import at_least_float32
from seqkd.losses.base import DistillationLoss

BACKENDS = ("auto", "fused", "composed")

# Elements of a chunk: on the CPU its few buffers stay in the cache; on a GPU it is large enough to fill it.
CHUNK = {"cpu": 1 << 17, "other": 1 << 24}


def adaptive_label_smoothing_loss(
    logits: Tensor,
    targets: Tensor,
    prior_logits: Tensor | None = None,
    *,
    ignore_index: int = -100,
    detach_alpha: bool = True,
    reduction: str = "mean",
    per_token: bool = False,
    backend: str = "auto",
) -> DistillationLoss:
    """Label smoothing whose amount each token sets itself, towards what the model itself knew before.

    With P = softmax(logits), Q = softmax(prior_logits), y the one-hot target, H the entropy in nats, at each
    valid position::

        α = 1 − H(P) / log C        ỹ = (1 − α) y + α Q
        total = −Σ_c ỹ log P = (1 − α) hard + α soft

    A model that is sure of itself is smoothed much, an unsure one little. With ``detach_alpha`` the gradient
    with respect to the logits is P − ỹ (times the reduction's factor).

    Args:
        logits: (B, S, C) of the current model, C at least 2, in any floating dtype.
        targets: (B, S) classes.
        prior_logits: (B, S, C) of the prior Q, in any floating dtype: self-knowledge is the best checkpoint so
            far by validation. Gets no gradient. None is the uniform prior, for before there is a checkpoint. A
            class that is -inf in ``logits`` has an infinite ``soft`` unless the prior has it -inf too.
        ignore_index: positions with this target are not valid: they take part in nothing, and what stands
            there in logits and prior, NaN too, changes neither value nor gradient.
        detach_alpha: True stops the gradient through α. False adds (soft − hard) ∂α/∂z to it, and needs the
            composed form.
        reduction: "mean" averages over all valid positions of the batch (0 if there is none), "sum" adds them
            up, "none" gives (B, S), 0 where not valid.
        per_token: also give α of each token as the term ``alpha_per_token`` (B, S), 0 where not valid.
        backend: "fused" makes no soft targets and keeps nothing of size C: both directions go over the logits
            in chunks of rows, and the gradient is computed where it is returned; "composed" is the formula in
            torch's operations; "auto" is fused where it can be. The two agree to rounding. The fused form cannot
            be differentiated twice.

    Returns:
        The total and the terms ``hard`` = −log P_y and ``soft`` = −Σ_c Q log P in its shape, before α weighs
        them, and ``alpha``, which is the mean over valid positions for "sum" too. Float64 for float64 logits,
        else float32. Only the total has a gradient.

    Raises:
        ValueError: shapes or types that do not fit, a target out of range (its place is named), an unknown
            option, or ``backend="fused"`` with ``detach_alpha=False``.

    Faults are looked for in the values of ``targets``, so a GPU is waited for.

    Paper: Lee, Cheung and Zhang, Adaptive label smoothing with self-knowledge in natural language generation,
    EMNLP 2022, arXiv 2210.13459. Established: the amount is dynamic, per token, from the entropy of the model's own
    output, and the prior is a past state of the same model. Chosen, as the paper's exact form was not at hand:
    log C as the norm of the entropy, the stopped gradient through α, the uniform prior before the first
    checkpoint.
    """
    tokens = Tokens.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    if logits.shape[-1] < 2:
        raise ValueError(f"logits must have at least 2 classes, got shape {tuple(logits.shape)}")
    check_choice("backend", backend, BACKENDS)
    if backend == "fused" and not detach_alpha:
        raise ValueError('backend "fused" cannot differentiate alpha: detach_alpha=False needs "auto" or "composed"')
    prior = None if prior_logits is None else tokens.fitting("prior_logits", prior_logits)
    fused = backend != "composed" and detach_alpha
    losses, hard, soft, alpha = _smoothed(tokens, logits, prior, None, detach_alpha=detach_alpha, fused=fused)
    terms = {"hard": tokens.reduce(hard), "soft": tokens.reduce(soft)}
    terms["alpha"] = tokens.reduce(alpha, "none" if reduction == "none" else "mean")
    if per_token:
        terms["alpha_per_token"] = tokens.spread(alpha)
    return DistillationLoss(tokens.reduce(losses), terms)


def uniform_label_smoothing_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    smoothing: float = 0.1,
    ignore_index: int = -100,
    reduction: str = "mean",
    backend: str = "auto",
) -> DistillationLoss:
    """Label smoothing by one fixed amount: (1 − ε) · hard + ε · soft, soft = −(1/C) Σ_c log P.

    The value is that of ``torch.nn.functional.cross_entropy(..., label_smoothing=ε)``.

    Args:
        logits: (B, S, C).
        targets: (B, S).
        smoothing: ε from 0 to 1. 0 is cross-entropy, and 1 leaves the target out: the term is not computed.
        ignore_index: as in :func:`adaptive_label_smoothing_loss`, and so the next two.
        reduction: "mean", "sum" or "none".
        backend: "auto", "fused" or "composed".

    Returns:
        The total and its unweighted terms ``hard`` and ``soft``, which have no gradient of their own.

    Raises:
        ValueError: as :func:`adaptive_label_smoothing_loss`, and for ``smoothing`` outside [0, 1].

    Paper: Szegedy et al., CVPR 2016, arXiv 1512.00567; 0.1 is its ε.
    """
    tokens = Tokens.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    check_choice("backend", backend, BACKENDS)
    check_share("smoothing", smoothing)
    losses, hard, soft, _ = _smoothed(tokens, logits, None, smoothing, detach_alpha=True, fused=backend != "composed")
    terms = {"hard": hard} if smoothing < 1 else {}
    terms |= {"soft": soft} if smoothing > 0 else {}
    return DistillationLoss(tokens.reduce(losses), {name: tokens.reduce(term) for name, term in terms.items()})


def confidence_penalty_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    penalty_weight: float = 0.1,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> DistillationLoss:
    """Cross-entropy and a price on confidence: −log P_y − β H(P).

    Args:
        logits: (B, S, C).
        targets: (B, S).
        penalty_weight: β; 0 removes the term. The paper uses 0.1 for images and 2.0 for translation.
        ignore_index: as in :func:`adaptive_label_smoothing_loss`.
        reduction: "mean" over valid positions, "sum", or "none" (B, S).

    Returns:
        The total and its unweighted terms ``hard`` and ``penalty`` = −H(P) = Σ_c P log P, never above 0.

    Raises:
        ValueError: shapes or types that do not fit, a target out of range, an unknown reduction, a weight that
            is negative or not finite.

    Paper: Pereyra et al., ICLR 2017 workshop, arXiv 1701.06548 (without its annealing and threshold).
    """
    tokens = Tokens.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    log_probs = tokens.log_softmax(logits)  # (N, C)
    return tokens.weigh(
        hard=(1.0, lambda: tokens.cross_entropy(log_probs)),
        penalty=(penalty_weight, lambda: _dot(log_probs.exp(), log_probs)),
    )


@dataclass(frozen=True)
class Tokens:
    """The valid target positions of a batch, checked, in one row each.

    Attributes:
        shape: (B, S, C).
        targets: (N,) int64, the class of each valid position.
        rows: (N,) which of the B·S positions are valid, or None for all.
        dtype: of the losses, float32 at least.
        reduction: how N values become one.
    """

    shape: tuple[int, int, int]
    targets: Tensor
    rows: Tensor | None
    dtype: torch.dtype
    reduction: str

    @classmethod
    def of(
        cls, logits: Tensor, targets: Tensor, *, ignore_index: int, reduction: str, name: str = "logits"
    ) -> "Tokens":
        """Check logits (B, S, C) and targets (B, S), and find the valid positions.

        Raises:
            ValueError: shapes or types that do not fit, a target out of range, an unknown reduction.
        """
        check_logits(name, logits, "BSC")
        check_choice("reduction", reduction, REDUCTIONS)
        targets = torch.as_tensor(targets)
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise ValueError(f"targets must be integers, got {targets.dtype}")
        if targets.shape != logits.shape[:2]:
            raise ValueError(
                f"targets must be (B, S) = {tuple(logits.shape[:2])}, one a position of {name}, "
                f"got {tuple(targets.shape)}"
            )
        targets, classes = targets.to(logits.device, torch.int64), logits.shape[2]
        valid = targets != ignore_index
        wrong = valid & ((targets < 0) | (targets >= classes))
        if wrong.any():
            sentence, position = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"sentence {sentence}: target {int(targets[sentence, position])} at position {position} is outside "
                f"[0, {classes}), and ignore_index is {ignore_index}"
            )
        rows = None if valid.all() else valid.flatten().nonzero()[:, 0]
        labels = targets.flatten() if rows is None else targets[valid]
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return cls(tuple(logits.shape), labels, rows, dtype, reduction)

    def fitting(self, name: str, logits: Tensor) -> Tensor:
        """Another model's logits (B, S, C), without gradient.

        Raises:
            ValueError: the shape is not that of the current model's: another batch, or another vocabulary.
        """
        check_logits(name, logits, "BSC")
        if tuple(logits.shape) != self.shape:
            raise ValueError(
                f"{name} {tuple(logits.shape)} and logits {self.shape} must have the same (B, S, C): one batch, one "
                "vocabulary"
            )
        return logits.detach()

    def log_softmax(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, C) log-probabilities of the valid positions of (B, S, C), in float32 at least, at a temperature."""
        rows = logits.reshape(-1, logits.shape[-1])
        rows = at_least_float32(rows if self.rows is None else rows.index_select(0, self.rows))
        return (rows if temperature == 1 else rows / temperature).log_softmax(-1)

    def cross_entropy(self, log_probs: Tensor) -> Tensor:
        """(N,) −log p of the target, from (N, C)."""
        return -log_probs.gather(-1, self.targets[:, None])[:, 0]

    def reduce(self, values: Tensor, reduction: str | None = None) -> Tensor:
        """(N,) as the reduction wants it: a scalar, or (B, S)."""
        reduction = reduction or self.reduction
        if reduction == "none":
            return self.spread(values)
        return values.sum() / (max(len(values), 1) if reduction == "mean" else 1)

    def spread(self, values: Tensor) -> Tensor:
        """(N,) at their places in (B, S), 0 elsewhere."""
        batch, positions, _ = self.shape
        if self.rows is not None:
            values = values.new_zeros(batch * positions).index_copy(0, self.rows, values)
        return values.view(batch, positions)

    def weigh(self, **terms: tuple[float, Callable[[], Tensor]]) -> DistillationLoss:
        """Add up name = (weight, function that computes (N,) losses); a weight of 0 is never computed.

        Raises:
            ValueError: a weight that is negative or not finite.
        """
        for name, (weight, _) in terms.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"{name}_weight must be finite and not negative, got {weight}")
        values = {name: self.reduce(term()) for name, (weight, term) in terms.items() if weight != 0}
        zero = self.reduce(self.targets.new_zeros(len(self.targets), dtype=self.dtype))
        return DistillationLoss(sum((terms[name][0] * value for name, value in values.items()), zero), values)


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless ``value`` is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")


def _dot(weights: Tensor, log_probs: Tensor) -> Tensor:
    """(..., C), (..., C) → (...): Σ_c w log p, where 0 · −inf counts as 0."""
    products = (weights * log_probs).sum(-1)
    if products.isnan().any():  # only a batch with masked classes pays for the mask
        products = (weights * log_probs.masked_fill(weights == 0, 0.0)).sum(-1)
    return products


def _amount(entropy: Tensor, classes: int) -> Tensor:
    # Rounding may leave the interval by a hair.
    return (1 - entropy / math.log(classes)).clamp(0.0, 1.0)


def _mix(hard: Tensor, soft: Tensor, alpha: Tensor | float) -> Tensor:
    """(1 − α) hard + α soft; a fixed α of 0 or 1 leaves a term out, even one that is infinite."""
    if isinstance(alpha, float) and alpha in (0.0, 1.0):
        return soft if alpha else hard
    return (1 - alpha) * hard + alpha * soft


def _smoothed(
    tokens: Tokens, logits: Tensor, prior: Tensor | None, amount: float | None, *, detach_alpha: bool, fused: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses (N,) with gradient, and hard, soft, alpha (N,) without; ``amount`` is a fixed α, None the adaptive one."""
    amount = None if amount is None else float(amount)
    if fused:
        return _Smoothing.apply(logits, prior, tokens.targets, tokens.rows, amount)
    log_probs = tokens.log_softmax(logits)  # (N, C)
    hard = tokens.cross_entropy(log_probs)
    soft = -log_probs.mean(-1) if prior is None else -_dot(tokens.log_softmax(prior).exp(), log_probs)
    if amount is None:
        for_alpha = log_probs.detach() if detach_alpha else log_probs
        alpha = _amount(-_dot(for_alpha.exp(), for_alpha), log_probs.shape[-1])
        losses = _mix(hard, soft, alpha)
    else:
        alpha = torch.full_like(hard, amount)
        losses = _mix(hard, soft, amount)
    return losses, hard.detach(), soft.detach(), alpha.detach()


class _Smoothing(torch.autograd.Function):
    """(1 − α) hard + α soft at each valid position, with the gradient P − ỹ, in chunks of rows."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        prior: Tensor | None,
        targets: Tensor,
        rows: Tensor | None,
        amount: float | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits and prior (B, S, C), targets and rows (N,) → losses, hard, soft, alpha (N,)."""
        classes, dtype = logits.shape[-1], torch.promote_types(logits.dtype, torch.float32)
        hard, soft, alpha = torch.empty(3, len(targets), dtype=dtype, device=logits.device)
        z, q = (None if x is None else x.reshape(-1, classes) for x in (logits, prior))
        for part in _chunks(targets, logits):
            chunk = _part(z, rows, part)
            log_p = chunk.log_softmax(-1, dtype=dtype)  # (R, C)
            hard[part] = -log_p.gather(-1, targets[part, None])[:, 0]
            if q is None:
                soft[part] = -log_p.mean(-1)
            else:
                soft[part] = -_dot(_part(q, rows, part).softmax(-1, dtype=dtype), log_p)
            if amount is None:
                # Another softmax takes less time than exp.
                alpha[part] = _amount(-_dot(chunk.softmax(-1, dtype=dtype), log_p), classes)
        if amount is not None:
            alpha.fill_(amount)
        ctx.save_for_backward(logits, prior, targets, rows, alpha)
        ctx.mark_non_differentiable(hard, soft, alpha)
        ctx.set_materialize_grads(False)
        # A copy, for with a fixed α of 0 or 1 it is one of the terms, which have no gradient.
        return _mix(hard, soft, alpha if amount is None else amount).clone(), hard, soft, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, losses_grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        """The gradient for the logits: P − ỹ, times that of each loss (N,)."""
        if losses_grad is None:
            return (None,) * 5
        logits, prior, targets, rows, alpha = ctx.saved_tensors
        classes = logits.shape[-1]
        z, q = (None if x is None else x.reshape(-1, classes) for x in (logits, prior))
        gradient = torch.empty if rows is None else torch.zeros
        gradient = gradient(z.shape, dtype=logits.dtype, device=logits.device)
        in_place = rows is None and logits.dtype == alpha.dtype
        for part in _chunks(targets, logits):
            chunk = _part(z, rows, part)
            if in_place:
                p = torch.softmax(chunk, -1, out=gradient[part])  # (R, C)
            else:
                p = chunk.softmax(-1, dtype=alpha.dtype)
            share = alpha[part, None]
            if q is None:
                p.sub_(share / classes)
            else:
                p.addcmul_(_part(q, rows, part).softmax(-1, dtype=alpha.dtype), share, value=-1)
            p.scatter_add_(-1, targets[part, None], share - 1)
            p.mul_(losses_grad[part, None])
            if rows is not None:
                gradient.index_copy_(0, rows[part], p.to(gradient.dtype))
            elif not in_place:
                gradient[part] = p
        return gradient.view(logits.shape), None, None, None, None


def _chunks(targets: Tensor, logits: Tensor) -> Iterator[slice]:
    """Parts of the N valid positions."""
    step = max(1, CHUNK["cpu" if logits.device.type == "cpu" else "other"] // logits.shape[-1])
    for start in range(0, len(targets), step):
        yield slice(start, start + step)


def _part(x: Tensor, rows: Tensor | None, part: slice) -> Tensor:
    """(R, C): a chunk of the valid rows of (B·S, C)."""
    return x[part] if rows is None else x.index_select(0, rows[part])
