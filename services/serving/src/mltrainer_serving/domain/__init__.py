"""Rules about what is served, without frameworks."""
