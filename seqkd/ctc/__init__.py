"""The CTC loss: one public function, and the readable reference it is tested against.

Imports nothing but torch and the standard library.
"""

from seqkd.ctc.loss import ctc_loss

__all__ = ["ctc_loss"]
