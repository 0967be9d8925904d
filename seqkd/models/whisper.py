"""Students of Whisper: the same network with fewer layers, which begin as copies of the teacher's.

After Distil-Whisper (Gandhi, von Platen and Rush 2023, arXiv:2311.00430): layers evenly spaced over the teacher's, the
first and the last among them; the whole encoder, and two layers of the decoder, in the paper.
"""

from __future__ import annotations

import copy
from typing import Any

from seqkd.errors import ConfigError


def evenly_spaced(of: int, count: int) -> list[int]:
    """``count`` of the layers 0 … ``of`` − 1: the first, the last, and others at equal distances (rounded to even).

    One alone is the first. Raises ConfigError for a count that is not from 1 to ``of``.
    """
    if not 1 <= count <= of:
        raise ConfigError(f"a student of {count} layers cannot be made of {of}; expected from 1 to {of}")
    return [round(index * (of - 1) / max(1, count - 1)) for index in range(count)]


def distilled(teacher: Any, *, encoder_layers: int | None = None, decoder_layers: int | None = 2) -> Any:
    """A ``WhisperForConditionalGeneration`` with layers of a teacher's.

    Args:
        teacher: a ``WhisperForConditionalGeneration``.
        encoder_layers: of the student; None for all.
        decoder_layers: of the student; None for all.

    Returns:
        The student, all of whose parameters are copies; what it writes by default is set as the teacher's.

    Raises:
        ConfigError: more layers than the teacher has, or none.
    """
    config = copy.deepcopy(teacher.config)
    kept = {}
    for side, wanted in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        there = getattr(config, f"{side}_layers")
        kept[side] = evenly_spaced(there, there if wanted is None else wanted)
        setattr(config, f"{side}_layers", len(kept[side]))
    config.num_hidden_layers = config.encoder_layers
    student = type(teacher)(config)
    theirs, state = teacher.state_dict(), {}
    for name in student.state_dict():
        parts = name.split(".")
        if "layers" in parts:  # model.decoder.layers.1.fc1.weight
            at = parts.index("layers")
            parts[at + 1] = str(kept[parts[at - 1]][int(parts[at + 1])])
        state[name] = theirs[".".join(parts)]
    student.load_state_dict(state)
    student.generation_config = copy.deepcopy(teacher.generation_config)
    if hasattr(student.generation_config, "alignment_heads"):  # of word times: they name layers that are gone
        student.generation_config.alignment_heads = None
    return student
