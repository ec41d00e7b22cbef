"""Data sets, batches, and the preparation of images and captions on the host."""
