"""Speech: made, fetched, and in the layouts of known corpora."""
