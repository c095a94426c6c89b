"""One hash for data, models, settings and files."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np


def digest(*parts: Any) -> str:
    """SHA-256 of arrays (shape, dtype and values), bytes, and whatever JSON can say."""
    total = hashlib.sha256()
    for part in parts:
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
    return digest(*(file.read_bytes() for file in sorted(Path(__file__).parent.rglob("*.py"))))
