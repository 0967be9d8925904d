"""From a song to a sequence of camera shots: corpora, features, film language, metrics and timelines."""
