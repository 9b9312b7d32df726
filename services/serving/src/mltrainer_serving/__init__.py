"""The mltrainer serving service."""
