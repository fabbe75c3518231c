"""Optuna storages that a run's trials are copied to, for teams that keep their studies there (D10)."""
