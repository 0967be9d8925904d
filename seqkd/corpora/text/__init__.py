"""Pairs of texts: made, fetched, and the user's own files."""
