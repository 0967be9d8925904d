"""From shot probabilities to what an editor opens: drafts, cuts on beats, timelines, storyboards."""
