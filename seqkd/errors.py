"""Faults that a user can correct. The command line prints them as one sentence and exits with status 1."""


class SeqkdError(Exception):
    """One clear sentence: which file, line or utterance, what was found, what was expected, what to do."""


class DataError(SeqkdError):
    """Something is wrong with the user's data."""


class ConfigError(SeqkdError, ValueError):
    """Something is wrong with the user's settings, or with the arguments of a function."""
