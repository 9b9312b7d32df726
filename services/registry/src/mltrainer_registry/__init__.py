"""The mltrainer registry service."""
