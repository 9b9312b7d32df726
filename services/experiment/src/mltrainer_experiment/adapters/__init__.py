"""Database of the experiment service."""
