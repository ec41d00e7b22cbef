"""TensorFlow as the input pipeline uses it: on the host only, and quiet.

Importing this module costs TensorFlow's import: command lines do it inside functions.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow tells of oneDNN on stderr before it reads the log level. None of the operations that
# decode and distort images are in oneDNN.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf  # noqa: E402  (the log level is read at import)
import tensorflow_datasets as tfds  # noqa: E402

__all__ = ["tf", "tfds"]

tf.get_logger().setLevel("ERROR")  # it warns of functions that are traced once an evaluation

try:
    tf.config.set_visible_devices([], "GPU")  # the accelerators belong to JAX
    # Examples are worked on side by side; splitting one picture's operation costs more than it
    # gains (a fifth of the whole on two cores).
    tf.config.threading.set_intra_op_parallelism_threads(1)
except RuntimeError:
    pass  # somebody has used TensorFlow in this process already: too late to choose
