"""Translation between the contracts and domain values."""
