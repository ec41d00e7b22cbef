"""Array operations that losses, models and methods share."""
