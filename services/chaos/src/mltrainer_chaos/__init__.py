"""The mltrainer chaos service."""
