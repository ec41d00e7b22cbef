"""Images on the host: opened, resized, distorted."""
