"""Rules of models, versions, aliases and gates."""
