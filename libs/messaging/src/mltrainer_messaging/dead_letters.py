"""Keeps events that could not be handled, with cause and original bytes, and plays them again."""
