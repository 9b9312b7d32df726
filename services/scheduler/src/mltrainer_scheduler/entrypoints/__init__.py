"""Receives events and calls, and runs the loops."""
