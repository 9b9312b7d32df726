"""Databases, processes and probes."""
