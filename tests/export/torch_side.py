"""Functions that tests call in PyTorch's process, by name."""

import builtins
import errno
import io
import os
import signal

import numpy as np

from jaxvl.export import albef, examples


def die(folder, run, tensors):
    """Ends the process as a fault in native code does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def write_albef_on_a_full_disk(folder, run, tensors):
    """Fails to write ALBEF.pth because the disk is full.

    PyTorch can fail again when it closes its archive, and then it reports only that.
    """

    class Full(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path, *arguments, **keys):
        return Full() if str(path).endswith(".pth") else open_file(path, *arguments, **keys)

    open_file, builtins.open = builtins.open, opened
    try:
        albef.write(folder, run, tensors)
    finally:
        raise RuntimeError("the archive could not be closed")


def clip_token_ids(folder, run):
    """Returns the ids that CLIPProcessor in the folder gives, and whether it is a CLIPTokenizer."""
    from transformers import CLIPProcessor, CLIPTokenizer

    words = CLIPProcessor.from_pretrained(folder).tokenizer
    captions = list(examples.CAPTIONS)
    ids = words(captions, padding="max_length", max_length=12, truncation=True)["input_ids"]
    return {"ids": np.array(ids), "is_clip": np.array(isinstance(words, CLIPTokenizer))}


def write_mine(folder, run, tensors):
    """Writes the tensors alone."""
    os.replace(tensors, folder / "mine.safetensors")


def read_mine(folder, run):
    """Returns one quantity, without PyTorch."""
    from safetensors.numpy import load_file

    return {"logit scale": load_file(folder / "mine.safetensors")["logit_scale"]}
