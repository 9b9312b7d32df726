"""The mltrainer experiment service."""
