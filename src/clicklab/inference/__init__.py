"""Answering clicks: sessions, predictors, views; knows no metric, no dataset and no trainer."""
