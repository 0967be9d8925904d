"""From corpora and data directories to batches."""
