"""Sweeps without an account: the file that W&B agents run, run here by Optuna."""
