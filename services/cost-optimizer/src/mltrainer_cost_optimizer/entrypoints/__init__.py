"""Calls and events."""
