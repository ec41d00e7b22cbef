"""A user's folder, table or tars of images and captions, made into a prepared data set."""
