"""Data in: sets by name, ``.npz`` files, IDX files, folders and archives of images; and how batches are augmented."""

from artclip.data.augmentation import RandomCropFlip
from artclip.data.description import DataDescription
from artclip.data.load import NAMES, describe_data, load_data, load_described
from artclip.data.shapes import fit_to
from artclip.pixels import Uint8Images

__all__ = [
    "NAMES",
    "DataDescription",
    "RandomCropFlip",
    "Uint8Images",
    "describe_data",
    "fit_to",
    "load_data",
    "load_described",
]
