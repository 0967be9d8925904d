"""Rates beside the word error rate: of mixed scripts, of keywords, of case and punctuation, and of matches."""
