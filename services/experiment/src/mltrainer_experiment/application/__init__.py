"""Use cases of the experiment service."""
