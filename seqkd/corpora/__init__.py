"""What makes or fetches data, by kind."""
