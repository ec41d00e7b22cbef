"""TensorFlow as the input pipeline uses it: on the host only, and quiet.

Importing this module costs TensorFlow's import, so the rest of the package imports it inside
functions. No other module imports TensorFlow or TFDS.
"""

import contextlib
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow prints a line about oneDNN to stderr before it reads the log level. None of the
# operations that decode and distort images are in oneDNN.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# PyTorch brings triton. Importing triton 3.7 after TensorFlow 2.21 kills the process (segmentation
# fault); before it, both work. It costs half a second where it is installed.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401  # pyright: ignore[reportMissingImports]

import tensorflow as tf  # noqa: E402  (it reads the log level when it is imported)
import tensorflow_datasets as tfds  # noqa: E402

__all__ = ["tf", "tfds"]

tf.get_logger().setLevel("ERROR")  # it warns of functions that are traced once an evaluation

try:
    tf.config.set_visible_devices([], "GPU")  # the accelerators belong to JAX
    # Examples are processed side by side; splitting the operations of one image as well costs more
    # than it gains (a fifth of the whole on two cores).
    tf.config.threading.set_intra_op_parallelism_threads(1)
except RuntimeError:
    pass  # TensorFlow is in use in this process already: too late to choose
