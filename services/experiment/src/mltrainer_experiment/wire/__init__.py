"""Translates between contracts and domain values."""
