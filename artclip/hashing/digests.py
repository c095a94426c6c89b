"""One hash for data, models, settings and files, and settings as JSON can say them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from artclip.pixels import Uint8Images

_FEW = 16  # numbers of an array that are said as they are


def digest(*parts: Any) -> str:
    """SHA-256 of arrays (shape, dtype and values), bytes, and whatever JSON can say."""
    total = hashlib.sha256()
    for part in parts:
        part = part.pixels if isinstance(part, Uint8Images) else part
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).data)
        elif isinstance(part, bytes):
            total.update(part)
        else:
            total.update(json.dumps(part, sort_keys=True, default=str).encode())
        total.update(b"\0")
    return total.hexdigest()


@lru_cache(maxsize=1)
def own_code() -> str:
    """Hash of artclip's own code: what older code found is not served."""
    return digest(*(file.read_bytes() for file in sorted(Path(__file__).parent.parent.rglob("*.py"))))


def plain(value: Any) -> Any:
    """A setting as JSON can say it: long arrays by their digest, functions and objects as no more than that."""
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist()) if value.size <= _FEW else f"array {list(value.shape)} {digest(value)[:12]}"
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return "a function" if callable(value) else "an object"
