"""Databases, the content store and the scraper."""
