"""Translates between contracts and values."""
