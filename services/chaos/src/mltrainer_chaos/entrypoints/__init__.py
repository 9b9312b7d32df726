"""Calls, events and loops."""
