"""Rules of experiments: life, validity, evidence."""
