"""Translates between contract messages and domain values."""
