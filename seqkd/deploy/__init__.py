"""Trained models as files that run elsewhere: ``seqkd export`` writes them, ``seqkd transcribe`` runs them.

An export directory holds ``model.onnx`` (any batch, any length), ``model.int8.onnx``, ``model.pt2``, the tokenizer,
``features.json``, ``export.json`` (hashes, versions, what was checked and found) and ``README.md``, the model's card.
"""
