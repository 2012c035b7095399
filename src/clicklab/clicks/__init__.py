"""Clicks: distances, the annotator's next click, maps and codes, geometry under crop, resize and flip."""
