"""The mltrainer trainer service."""
