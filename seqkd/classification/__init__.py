"""Clips, images or frames to classes: data, features, augmentation, batches, teachers' outputs, measures."""
