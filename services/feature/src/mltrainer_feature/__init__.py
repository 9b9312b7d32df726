"""The mltrainer feature service."""
