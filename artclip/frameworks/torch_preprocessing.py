"""ART's preprocessing of a PyTorch estimator, taken apart: what applies at fit, what at predict, and the scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.preprocessing.standardisation_mean_std.numpy import StandardisationMeanStd
from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
from art.preprocessing.standardisation_mean_std.utils import broadcastable_mean_std


class Preprocessing:
    """ART's preprocessing in the order ART applies it: defences, then the mean/std scaling."""

    def __init__(self, estimator: Any, device: torch.device, dtype: torch.dtype) -> None:
        operations = list(estimator.preprocessing_operations or [])
        scaling = None
        if operations and isinstance(operations[-1], (StandardisationMeanStd, StandardisationMeanStdPyTorch)):
            scaling = operations.pop()
        for defence in operations:
            if defence.apply_predict and not isinstance(defence, PreprocessorPyTorch):
                raise ValueError(
                    f"preprocessing defence {type(defence).__name__} works in numpy, so no gradient flows through it "
                    "in PyTorch; use its PyTorch variant, or set apply_predict=False"
                )
        self._at_fit = [d for d in operations if d.apply_fit]
        self._at_predict = [d for d in operations if d.apply_predict]
        self._mean = self._std = None
        if scaling is not None and (np.any(scaling.mean != 0) or np.any(scaling.std != 1)):
            mean, std = broadcastable_mean_std(np.empty((1, *estimator.input_shape)), scaling.mean, scaling.std)
            self._mean = torch.from_numpy(np.array(mean)).to(device, dtype)
            self._std = torch.from_numpy(np.array(std)).to(device, dtype)

    @property
    def has_fit_defences(self) -> bool:
        return bool(self._at_fit)

    @property
    def has_predict_defences(self) -> bool:
        return bool(self._at_predict)

    def defended(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for defence in self._at_fit:
            x, y = defence(x, y)
        return x, y

    def standardised(self, x: torch.Tensor) -> torch.Tensor:
        return x if self._mean is None else (x - self._mean) / self._std

    def deployed(self, x: torch.Tensor) -> torch.Tensor:
        for defence in self._at_predict:
            x = defence.forward(x, None)[0]
        return self.standardised(x)
