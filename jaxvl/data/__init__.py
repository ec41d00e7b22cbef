"""Data sets, batches and what happens to pictures and captions on the host."""
