"""Implements the ports of the application."""
