"""Sentence pairs: batches, decoding, measures."""
