"""Which network to try next, and what was found so far: Optuna, and no torch."""
