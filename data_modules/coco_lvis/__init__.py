"""COCO+LVIS, built from the two public json files."""
