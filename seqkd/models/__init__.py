"""Encoders, and the CTC model on disk."""
