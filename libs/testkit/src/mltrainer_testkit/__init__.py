"""Fixtures, fakes, builders and conformance suites."""
