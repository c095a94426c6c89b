"""The version of artclip."""

__version__ = "0.1.0"
