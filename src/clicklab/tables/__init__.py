"""The papers' tables: what stands in them, which runs fill them, and their layout beside the published numbers."""
