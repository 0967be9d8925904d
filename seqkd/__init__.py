"""seqkd: speech and sequence distillation.

The package root imports nothing heavy, so that ``seqkd --help`` and the scorer start fast.
"""

__version__ = "0.1.0"

from seqkd.moved import install

install()
