"""Train a small CTC model from a larger one in a plain PyTorch loop, with one of seqkd's losses.

Both models are one convolution over made-up features whose classes are easy to read off; put yours in their place.
"""

import torch
from torch import nn

from seqkd.losses import ctc_kd_loss

CLASSES, FEATURES = 12, 16  # class 0 is the blank


def model(width: int) -> nn.Module:
    """(B, FEATURES, T) → (B, CLASSES, T)."""
    return nn.Sequential(nn.Conv1d(FEATURES, width, 3, padding=1), nn.ReLU(), nn.Conv1d(width, CLASSES, 1))


def batch(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (B, FEATURES, T) in which every label lasts four frames, targets and both lengths."""
    targets = torch.randint(1, CLASSES, (8, 6), generator=generator)
    codes = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(0))
    features = codes[targets].repeat_interleave(4, 1).transpose(1, 2)  # (8, FEATURES, 24)
    features = features + 0.7 * torch.randn(features.shape, generator=generator)
    return features, targets, torch.full((8,), 24), torch.full((8,), 6)


def main(updates: int = 300) -> tuple[float, float]:
    """Train the teacher, then the student; return the CTC loss of each on a new batch."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    teacher, student = model(64), model(6)
    for network, others in ((teacher, None), (student, teacher)):
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        for _ in range(updates):
            features, targets, input_lengths, target_lengths = batch(generator)
            logits = network(features).transpose(1, 2)  # (B, T, CLASSES)
            with torch.no_grad():
                teacher_logits = logits if others is None else others(features).transpose(1, 2)
            weight = 0.0 if others is None else 0.5
            loss = ctc_kd_loss(
                logits, teacher_logits, targets, input_lengths, target_lengths, kd_weight=weight, distance="kl"
            )
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
    features, targets, *lengths = batch(generator)
    with torch.no_grad():
        results = [
            ctc_kd_loss(z, z, targets, *lengths, kd_weight=0.0).terms["ctc"].item()
            for z in (network(features).transpose(1, 2) for network in (teacher, student))
        ]
    print(f"CTC of the teacher {results[0]:.2f}, of the student {results[1]:.2f}")
    return results[0], results[1]


if __name__ == "__main__":
    main()
