"""Decides what becomes of trainings: values and pure functions."""
