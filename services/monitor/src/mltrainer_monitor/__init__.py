"""The mltrainer monitor service."""
