"""Losses: plain functions from logits and target to one value per sample."""
