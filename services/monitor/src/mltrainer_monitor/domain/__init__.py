"""Pure rules: drift, scores, objectives."""
