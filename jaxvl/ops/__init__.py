"""Array operations that the models and methods share."""
