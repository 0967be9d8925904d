"""The Lightning module, its objective, and one training run."""
