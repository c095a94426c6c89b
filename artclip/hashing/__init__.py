"""Hashes of data, models, settings and code."""
