"""Makes a prepared data set of a user's images and captions: a folder with a table, or tars."""
