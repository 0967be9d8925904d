"""Label smoothing per target token: by a dynamic amount (self-knowledge), or by a fixed one.

Letters: B sentences, S target positions, C classes, N valid positions, R positions of one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from seqkd.ctc.arguments import check_choice
from seqkd.ctc.transforms import batched_gradients, tracing, transforming
from seqkd.errors import ConfigError
from seqkd.losses.base import DistillationLoss
from seqkd.losses.gold import class_weighted, gold_positions, mixed_in, picked, targets_of
from seqkd.losses.objective import Term
from seqkd.losses.outputs import IGNORE, Labels, Outputs
from seqkd.losses.tokens import ValidPositions, check_share, dot
from seqkd.settings import one_of, share

BACKENDS = ("auto", "fused", "composed")

# Elements of a chunk: on the CPU its few buffers stay in the cache; on a GPU it is large enough to fill it.
CHUNK = {"cpu": 1 << 17, "other": 1 << 24}


class LabelSmoothing(Term):
    """Σ over valid positions of (1 − ε) (−log P_y) + ε (−mean_c log P_c), averaged over passes; ε = 0 is cross-entropy.

    Notes the means ``hard`` and ``soft``. In one pass over the logits; see :func:`uniform_label_smoothing_loss`. Labels
    that MixUp has mixed and class weights are as in `seqkd.losses.CrossEntropy`, whose memory they take.

    Args:
        smoothing: ε, from 0 to 1.
        backend: "auto", "fused" or "composed".
        **options: ``weight``, ``layer``: see :class:`Term`.

    Raises:
        ConfigError: labels that are not one a position, as beside CTC.
        ValueError: a target that is no class.
    """

    def __init__(self, *, smoothing: float = 0.0, backend: str = "auto", **options: object) -> None:
        super().__init__(**options)
        self.smoothing, self.backend = share(smoothing=smoothing), one_of(BACKENDS, backend=backend)

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        if labels.mixed is not None or labels.class_weights is not None:
            return self._of_mixtures(student, labels)
        logits, targets = by_position(student, labels, "LabelSmoothing")
        loss = uniform_label_smoothing_loss(
            logits, targets, smoothing=self.smoothing, reduction="none", backend=self.backend
        )
        count = (targets != IGNORE).sum().clamp(min=1)
        self.note(**{name: value.sum() / count for name, value in loss.terms.items()})
        return by_item(loss.total, student)

    def _of_mixtures(self, student: Outputs, labels: Labels) -> Tensor:
        targets, valid = gold_positions(labels, student, "LabelSmoothing")
        log_probs = class_weighted(student.log_probs, labels)  # (P, B, T, C)
        parts = {"hard": mixed_in(lambda of: -picked(log_probs, of), targets, labels), "soft": -log_probs.mean(-1)}
        parts = {name: value.masked_fill(~valid, 0.0) for name, value in parts.items()}
        count = (valid.sum() * len(log_probs)).clamp(min=1)
        self.note(**{name: value.sum() / count for name, value in parts.items()})
        return _mix(parts["hard"], parts["soft"], float(self.smoothing)).sum(-1).mean(0)


PRIORS = ("uniform", "best", "ema")


class AdaptiveSmoothing(Term):
    """Label smoothing whose amount each position sets itself, towards what the model itself knew before.

    Σ over valid positions of (1 − α) (−log P_y) + α (−Σ_c Q log P), averaged over passes, α = cap · (1 − H(P) / log C),
    which gets no gradient; see :func:`adaptive_label_smoothing_loss`. Notes the means ``hard``, ``soft`` and ``alpha``.

    Args:
        prior: Q, the model's past self: "best" (default; the best on dev so far), "ema" (an exponential moving
            average), or "uniform" (none). Before there is a past self, Q is uniform.
        ema_decay: of the moving average, from 0 to less than 1.
        cap: the most that α may be, from 0 to 1; 1 (default) is the paper's.
        backend: "auto", "fused" or "composed".
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Raises:
        ConfigError: labels that are not one a position, as beside CTC; in an `Objective`, mixed labels, class weights.
        ValueError: a target that is no class.
    """

    optional = True
    refuses = ("mixed", "class_weights")

    def __init__(
        self,
        *,
        prior: str = "best",
        ema_decay: float = 0.999,
        cap: float = 1.0,
        backend: str = "auto",
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.prior, self.backend = one_of(PRIORS, prior=prior), one_of(BACKENDS, backend=backend)
        if share(ema_decay=ema_decay) == 1:
            raise ConfigError("ema_decay is 1; expected from 0 to less than 1")
        self.cap = share(cap=cap)
        self.ema_decay, self.source = ema_decay, None if prior == "uniform" else "past"

    def forward(self, student: Outputs, past: Outputs | None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        logits, targets = by_position(student, labels, "AdaptiveSmoothing")
        return by_item(self.smoothed(logits, targets, None if past is None else past.logits), student)

    def smoothed(self, logits: Tensor, targets: Tensor, prior: Tensor | None) -> Tensor:
        """Compute the losses (P·B, T) of logits (P·B, T, C), targets (P·B, T), the prior's logits (1 or P, B, T, C)."""
        if prior is not None:
            prior = prior.expand(len(logits) // prior.shape[1], -1, -1, -1).flatten(0, 1)
        options = {"cap": self.cap, "reduction": "none", "backend": self.backend}
        loss = adaptive_label_smoothing_loss(logits, targets, prior, **options)
        count = (targets != IGNORE).sum().clamp(min=1)
        self.note(**{name: value.sum() / count for name, value in loss.terms.items()})
        return loss.total


def by_position(student: Outputs, labels: Labels, what: str) -> tuple[Tensor, Tensor]:
    """Logits (P·B, T, C) and targets (P·B, T), -100 where there is no valid position; ``what`` heads messages."""
    passes, _, frames, _ = student.logits.shape
    targets = targets_of(labels, frames, what).masked_fill(~student.mask, IGNORE)
    return student.logits.flatten(0, 1), targets.repeat(passes, 1)


def by_item(losses: Tensor, student: Outputs) -> Tensor:
    """Sum losses (P·B, T) over positions and average them over passes: (B,)."""
    return losses.unflatten(0, student.logits.shape[:2]).sum(-1).mean(0)


def adaptive_label_smoothing_loss(
    logits: Tensor,
    targets: Tensor,
    prior_logits: Tensor | None = None,
    *,
    ignore_index: int = -100,
    detach_alpha: bool = True,
    cap: float = 1.0,
    reduction: str = "mean",
    per_token: bool = False,
    backend: str = "auto",
) -> DistillationLoss:
    """Label smoothing whose amount each token sets itself, towards what the model itself knew before.

    With P = softmax(logits), Q = softmax(prior_logits), y the one-hot target, H the entropy in nats, at each
    valid position::

        α = cap · (1 − H(P) / log C)        ỹ = (1 − α) y + α Q
        total = −Σ_c ỹ log P = (1 − α) hard + α soft

    A model that is sure of itself is smoothed much, by up to ``cap``, an unsure one little. With ``detach_alpha`` the
    gradient with respect to the logits is P − ỹ (times the reduction's factor).

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
        cap: the most that α may be, from 0 to 1. 1 (default) is the paper's: where the model is sure, the label keeps
            nothing of the target, so that a run is long and ends underconfident.
        reduction: "mean" averages over all valid positions of the batch (0 if there is none), "sum" adds them
            up, "none" gives (B, S), 0 where not valid.
        per_token: also give α of each token as the term ``alpha_per_token`` (B, S), 0 where not valid.
        backend: "fused" makes no soft targets and keeps nothing of size C: both directions go over the logits
            in chunks of rows, and the gradient is computed where it is returned; "composed" is the formula in
            torch's operations; "auto" is fused where it can be. The two agree to rounding. The fused form cannot
            be differentiated twice. Where torch compiles or transforms the program, the form is the composed one.

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
    tokens = ValidPositions.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    if logits.shape[-1] < 2:
        raise ValueError(f"logits must have at least 2 classes, got shape {tuple(logits.shape)}")
    check_choice("backend", backend, BACKENDS)
    if backend == "fused" and not detach_alpha:
        raise ValueError('backend "fused" cannot differentiate alpha: detach_alpha=False needs "auto" or "composed"')
    check_share("cap", cap)
    prior = None if prior_logits is None else tokens.fitting("prior_logits", prior_logits)
    fused = backend != "composed" and detach_alpha
    losses, hard, soft, alpha = _smoothed(tokens, logits, prior, None, cap, detach_alpha=detach_alpha, fused=fused)
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
    tokens = ValidPositions.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    check_choice("backend", backend, BACKENDS)
    check_share("smoothing", smoothing)
    losses, hard, soft, _ = _smoothed(
        tokens, logits, None, smoothing, 1.0, detach_alpha=True, fused=backend != "composed"
    )
    terms = {"hard": hard} if smoothing < 1 else {}
    terms |= {"soft": soft} if smoothing > 0 else {}
    return DistillationLoss(tokens.reduce(losses), {name: tokens.reduce(term) for name, term in terms.items()})


def _amount(entropy: Tensor, classes: int, cap: float) -> Tensor:
    # Rounding may leave the interval by a hair.
    return cap * (1 - entropy / math.log(classes)).clamp(0.0, 1.0)


def _mix(hard: Tensor, soft: Tensor, alpha: Tensor | float) -> Tensor:
    """(1 − α) hard + α soft; a fixed α of 0 or 1 leaves a term out, even one that is infinite."""
    if isinstance(alpha, float) and alpha in (0.0, 1.0):
        return soft if alpha else hard
    return (1 - alpha) * hard + alpha * soft


def _smoothed(
    tokens: ValidPositions,
    logits: Tensor,
    prior: Tensor | None,
    amount: float | None,
    cap: float,
    *,
    detach_alpha: bool,
    fused: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses (N,) with gradient, and hard, soft, alpha (N,) without; ``amount`` is a fixed α, None the adaptive one."""
    amount = None if amount is None else float(amount)
    if fused and not tracing():
        return _Smoothing.apply(logits, prior, tokens.targets, tokens.rows, amount, cap)
    log_probs = tokens.log_softmax(logits)  # (N, C)
    hard = tokens.cross_entropy(log_probs)
    soft = -log_probs.mean(-1) if prior is None else -dot(tokens.log_softmax(prior).exp(), log_probs)
    if amount is None:
        for_alpha = log_probs.detach() if detach_alpha else log_probs
        alpha = _amount(-dot(for_alpha.exp(), for_alpha), log_probs.shape[-1], cap)
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
        cap: float,
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
                soft[part] = -dot(_part(q, rows, part).softmax(-1, dtype=dtype), log_p)
            if amount is None:
                # Another softmax takes less time than exp.
                alpha[part] = _amount(-dot(chunk.softmax(-1, dtype=dtype), log_p), classes, cap)
        if amount is not None:
            alpha.fill_(amount)
        # Autograd refuses to save what was made in inference mode.
        ctx.prior = prior if prior is not None and prior.is_inference() else None
        ctx.save_for_backward(logits, None if ctx.prior is not None else prior, targets, rows, alpha)
        ctx.mark_non_differentiable(hard, soft, alpha)
        ctx.set_materialize_grads(False)
        # A copy, for with a fixed α of 0 or 1 it is one of the terms, which have no gradient.
        return _mix(hard, soft, alpha if amount is None else amount).clone(), hard, soft, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, losses_grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        """The gradient for the logits: P − ỹ, times that of each loss (N,)."""
        if losses_grad is None:
            return (None,) * 6
        logits, prior, targets, rows, alpha = ctx.saved_tensors
        prior = prior if ctx.prior is None else ctx.prior
        if batched_gradients(losses_grad) or transforming():
            return _at_once(logits, prior, targets, rows, alpha, losses_grad), *(None,) * 5
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
        return gradient.view(logits.shape), *(None,) * 5


def _at_once(
    logits: Tensor, prior: Tensor | None, targets: Tensor, rows: Tensor | None, alpha: Tensor, losses_grad: Tensor
) -> Tensor:
    """The gradient without writing in place, for many gradients (N,) at once."""
    classes, everything = logits.shape[-1], slice(None)
    z, q = (None if x is None else x.reshape(-1, classes) for x in (logits, prior))
    share = alpha[:, None]
    soft = 1 / classes if q is None else _part(q, rows, everything).softmax(-1, dtype=alpha.dtype)
    p = _part(z, rows, everything).softmax(-1, dtype=alpha.dtype) - share * soft
    p = (p.scatter_add(-1, targets[:, None], share - 1) * losses_grad[:, None]).to(logits.dtype)
    if rows is not None:
        p = logits.new_zeros(z.shape).index_copy(0, rows, p)
    return p.view(logits.shape)


def _chunks(targets: Tensor, logits: Tensor) -> Iterator[slice]:
    """Parts of the N valid positions."""
    step = max(1, CHUNK["cpu" if logits.device.type == "cpu" else "other"] // logits.shape[-1])
    for start in range(0, len(targets), step):
        yield slice(start, start + step)


def _part(x: Tensor, rows: Tensor | None, part: slice) -> Tensor:
    """(R, C): a chunk of the valid rows of (B·S, C)."""
    return x[part] if rows is None else x.index_select(0, rows[part])
