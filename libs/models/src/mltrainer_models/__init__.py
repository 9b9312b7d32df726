"""Artifact formats, loaders, preprocessing and prediction; the computation key."""
