"""Evaluation without a trainer: sessions, predictor, lockstep play, metrics, reports."""
