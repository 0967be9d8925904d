"""From a song to features: spectrum, beats, structure."""
