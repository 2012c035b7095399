"""File formats: images, masks, json, pickles, run lengths, layered ids."""
