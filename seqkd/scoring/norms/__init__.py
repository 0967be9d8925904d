"""The steps of a normaliser, and mapping files; see `seqkd.scoring.normalize`."""
