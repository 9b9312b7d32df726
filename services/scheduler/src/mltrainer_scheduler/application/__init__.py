"""Carries out what the scheduler is asked, one transaction each."""
