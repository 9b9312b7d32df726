"""Translation between contracts and domain values."""
