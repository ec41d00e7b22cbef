"""Losses as pure functions that return one value an example; means are taken by the methods."""
