"""Distil a Hugging Face CTC model: its posteriors teach a small network on log-mel features (needs seqkd[hf]).

    python examples/distil_hf_ctc.py [facebook/wav2vec2-base-960h]

Without a name, a tiny wav2vec 2.0 with random weights stands in for the teacher, so that the script runs offline; noise
stands in for the audio. The student has half the teacher's frame rate: each of its frames learns from the mean of two.
"""

import sys

import torch
import torchaudio
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from seqkd.losses import ctc_kd_loss

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
}


mel = torchaudio.transforms.MelSpectrogram(16000, n_fft=1024, hop_length=640, n_mels=40, center=False)  # every 40 ms


def main(name: str | None = None, updates: int = 60) -> list[float]:
    """Return the distance to the teacher by update."""
    torch.manual_seed(0)
    teacher = Wav2Vec2ForCTC.from_pretrained(name) if name else Wav2Vec2ForCTC(Wav2Vec2Config(**TINY))
    teacher.eval()
    blank = teacher.config.pad_token_id  # of wav2vec 2.0
    student = nn.Sequential(nn.Conv1d(40, 32, 3, padding=1), nn.ReLU(), nn.Conv1d(32, teacher.config.vocab_size, 1))
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    audio = torch.randn(4, 16000)  # your utterances
    targets, target_lengths = torch.randint(5, 30, (4, 6)), torch.tensor([6, 6, 5, 4])  # and their letters
    with torch.no_grad():
        log_probs = teacher(audio).logits.log_softmax(-1)  # a frame every 20 ms
    distances = []
    for _ in range(updates):
        logits = student(mel(audio).clamp(min=1e-6).log()).transpose(1, 2)  # (B, T, classes)
        pairs = log_probs[:, : 2 * logits.shape[1]].unflatten(1, (-1, 2))
        frames = torch.full((4,), min(logits.shape[1], pairs.shape[1]))
        loss = ctc_kd_loss(
            logits[:, : frames[0]], pairs.logsumexp(2), targets, frames, target_lengths,
            kd_weight=1.0, distance="kl", blank=blank,
        )  # fmt: skip
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        distances.append(loss.terms["kd"].item())
    print(f"KL to the teacher, an utterance: {distances[0]:.2f} before, {distances[-1]:.2f} after {updates} updates")
    return distances


if __name__ == "__main__":
    main(*sys.argv[1:2])
