"""Teachers that were not trained here: hub models, bundles, files."""
