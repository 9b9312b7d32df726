"""Use cases of cost-optimizer."""
