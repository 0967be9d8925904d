"""What the transformers library opens: models and processors by hub name or local directory, quietly.

Weights are read from safetensors only, and code that lies beside them is never run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seqkd.errors import ConfigError
from seqkd.teachers.external.descriptions import one_line


def name_of(source: str) -> str:
    """A hub name as it is, a directory without what stands before it, which is this machine's alone."""
    return Path(source).name if Path(source).is_dir() else source


def weights(source: str, auto_class: str) -> Any:
    """The model of an Auto class in eval mode, in float32.

    Raises:
        ConfigError: no safetensors, damaged ones, or some that lack parameters (a model without its CTC head).
    """
    import torch

    path = Path(source)
    if path.is_dir() and not any(path.glob("*.safetensors")):
        pickled = sorted(one.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for one in path.glob(pattern))
        found = f"only {pickled[0]}, which would have to be unpickled" if pickled else "none"
        raise ConfigError(
            f"{source} has no weights in safetensors ({found}); load it where you trust it and write it again with "
            "save_pretrained"
        )

    def load(auto: Any) -> Any:
        return getattr(auto, auto_class).from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, output_loading_info=True, dtype=torch.float32
        )

    model, report = loaded(source, load)
    lacking = sorted(report["missing_keys"]) + sorted(str(key[0]) for key in report["mismatched_keys"])
    if lacking:
        raise ConfigError(
            f"the weights of {source} lack {', '.join(lacking[:3])}{' and others' if len(lacking) > 3 else ''}; "
            "name a model that was trained to transcribe, not only pretrained"
        )
    return model.eval()


def loaded(source: str, load: Callable[[Any], Any]) -> Any:
    """What ``load`` makes of the transformers library, quietly; whatever goes wrong is one ConfigError."""
    with quiet(bars=not Path(source).is_dir()) as transformers:  # a download takes a while
        try:
            return load(transformers)
        except Exception as error:  # the libraries below raise many kinds: OSError, ValueError, SafetensorError, ...
            if Path(source).is_dir():
                raise ConfigError(
                    f"{source} cannot be opened as a model of transformers ({one_line(error)}); write it again with "
                    "save_pretrained, the processor too"
                ) from error
            raise ConfigError(
                f"the model {source!r} cannot be had from the Hugging Face hub ({one_line(error)}); check the name and "
                "the network, or name a local directory"
            ) from error


@contextlib.contextmanager
def quiet(*, bars: bool = False) -> Iterator[Any]:
    """The transformers library, without its remarks meanwhile, nor its progress ``bars``.

    Raises ConfigError if it is not installed.
    """
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise ConfigError("transformers is not installed; install it with: pip install 'seqkd[hf]'") from error
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not bars:
        logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
