"""Database and content store behind the ports."""
