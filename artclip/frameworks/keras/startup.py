"""TensorFlow without its start-up messages, for the command line."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def start_tensorflow(nb_threads: int | None = None) -> None:
    """Import TensorFlow and let it look for devices, and print what it says only if that fails.

    Afterwards it reports errors only: ART's ``predict`` retraces for each new size of batch, and TensorFlow would warn.

    Args:
        nb_threads: for each operation; TensorFlow takes no other number once it has started.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="PyTorch not found", category=UserWarning)  # from art.estimators
    with _held_back():
        import tensorflow as tf

        if nb_threads is not None:
            with suppress(RuntimeError):
                tf.config.threading.set_intra_op_parallelism_threads(nb_threads)
        tf.config.list_logical_devices()
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, by native code too; show it if an exception comes."""
    sys.stderr.flush()
    descriptor = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(descriptor, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(descriptor, 2)
            os.close(descriptor)
