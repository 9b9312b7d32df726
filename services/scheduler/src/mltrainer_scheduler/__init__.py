"""The mltrainer scheduler service."""
