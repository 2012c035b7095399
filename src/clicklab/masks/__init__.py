"""Masks: the sets of objects that clicks may mean, their relations, and spoilt masks."""
