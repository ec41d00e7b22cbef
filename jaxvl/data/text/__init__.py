"""Captions on the host: cleaned and turned into token ids."""
