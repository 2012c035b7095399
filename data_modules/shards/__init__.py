"""Tar files of images and annotations, read where they lie: by an index of offsets, never unpacked."""
