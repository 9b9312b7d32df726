"""Implements the ports of the trainer: database, processes, peers, estimators."""
