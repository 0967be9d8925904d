"""The user's own recordings, in whatever form they come."""
