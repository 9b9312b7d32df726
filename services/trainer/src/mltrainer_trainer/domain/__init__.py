"""Rules of the trainer: what an attempt may become, how models are searched, split, scored and judged."""
