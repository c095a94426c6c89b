"""PyTorch: an ART PyTorch estimator as a trainable function."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.utils import check_and_transform_label_format
from safetensors.torch import save_file
from torch import nn

from artclip.frameworks import global_random
from artclip.frameworks.base import box_of
from artclip.frameworks.preprocessing import Preprocessing
from artclip.frameworks.pytorch import losses, optimizers, settings, snapshots
from artclip.frameworks.pytorch.averaging import WeightAverages
from artclip.frameworks.pytorch.function import TorchFunction, as_tensor, rows_of
from artclip.frameworks.pytorch.joint_pass import joins_passes
from artclip.frameworks.pytorch.losses import TorchLoss
from artclip.frameworks.pytorch.random import Stream
from artclip.frameworks.pytorch.stiefel import StiefelMuon
from artclip.frameworks.trainable import LogitShift, Objective

_PLAIN = ("art.estimators.classification.pytorch", "art.estimators.regression.pytorch")


def _without_cache(device_type: str) -> AbstractContextManager[Any]:
    """Autocast as it is outside, if it is on, but without its cache of weights.

    It keeps the weights of the first pass, without a gradient where that pass had none, until the user's own context
    ends, so that a whole training inside it would neither see new weights nor feel the penalty.
    """
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, torch.get_autocast_dtype(device_type), cache_enabled=False)


class TorchEstimator(TorchFunction, TorchLoss):
    """An ART ``PyTorchClassifier`` or ``PyTorchRegressor``.

    The forward pass is ART's own ``_model(x)[-1]``, so that artclip and ART's attacks see the same function: for an
    ``nn.Sequential`` ART calls the layers one by one and ignores a ``forward`` that a subclass may define.
    """

    weights_file = "model.safetensors"

    def __init__(self, estimator: Any) -> None:
        super().__init__(estimator._model)
        self.estimator = estimator
        self.input_shape = tuple(estimator.input_shape)
        self.nb_classes = self.told_classes = getattr(estimator, "nb_classes", None)
        self.device = estimator.device
        self.clip_values = box_of(estimator)
        self.optimizer, self.optimizer_name = estimator.optimizer, type(estimator.optimizer).__name__
        # That of a Hugging Face estimator puts a processor before the model.
        self._is_plain = type(self.module).__module__ in _PLAIN
        self._turn: Callable[[], Any] = nullcontext
        self._averages: WeightAverages | None = None
        self._parameters = [p for p in self.module.parameters() if p.requires_grad]
        self._prepare()
        self.approximated = self._preprocessing.approximated
        loss = getattr(estimator, "loss", None)
        self.told_threshold = losses.threshold(loss)
        self.told_shares = losses.takes_probabilities(loss)
        self.threshold = 0.5 if self.told_threshold is None else self.told_threshold

    def follow(self) -> bool:
        moved = super().follow()
        if moved:
            self._prepare()
        return moved

    def _prepare(self) -> None:
        """ART's preprocessing, where the model is and in its dtype."""
        through = losses.Defended.apply
        self._preprocessing = Preprocessing(self.estimator, self.tensor, PreprocessorPyTorch, through)
        self.scaling = self._preprocessing.scaling
        self._may_write |= bool(self._preprocessing.at_predict)

    def _deployed(self, x: torch.Tensor) -> torch.Tensor:
        return self._last(self._preprocessing.deployed(x))

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        """What ART's wrapper gives last; of a Sequential it would keep the outputs of all parts, which takes memory."""
        if not (self._is_plain and isinstance(self.module._model, nn.Sequential)):
            return self.module(x)[-1]
        for part in self.module._model._modules.values():
            x = part(x)
        return x

    def notes(self) -> list[str]:
        model = self.estimator.model
        if not isinstance(model, nn.Sequential):
            return []
        own = type(model).forward is not nn.Sequential.forward or "forward" in vars(model)
        if not own and not model._forward_hooks and not model._forward_pre_hooks:
            return []
        what = "own forward" if own else "hooks"
        return [f"ART's predict runs the parts of a Sequential and leaves out its {what}; so does this figure"]

    def in_float64(self) -> TorchFunction | None:
        twin = super().in_float64()
        if isinstance(twin, TorchEstimator) and twin is not self:
            twin._preprocessing = self._preprocessing.mapped(torch.Tensor.double)
        return twin

    def described(self) -> dict[str, Any]:
        return settings.described(self.estimator, self.module)

    def kept_loss(self) -> dict[str, Any] | None:
        return settings.kept_loss(self.estimator.loss)

    def check_trainable(self) -> None:
        if self.estimator.optimizer is None:
            raise ValueError("the classifier has no optimizer; give one to ART: PyTorchClassifier(..., optimizer=...)")
        if self.estimator.loss is None:
            raise ValueError("the classifier has no loss; give one to ART: PyTorchClassifier(..., loss=...)")
        if not self._parameters:
            raise ValueError("the model has no trainable parameter: every requires_grad is False")
        ours = {id(p) for p in self._parameters}
        if not any(id(p) in ours for g in self.estimator.optimizer.param_groups for p in g["params"]):
            raise ValueError("the classifier's optimizer holds none of the model's parameters")
        if any(isinstance(m, torch.optim.swa_utils.AveragedModel) for m in self.module.modules()):
            raise ValueError(
                "the model is an AveragedModel, whose weights are averages and not trained; give ART the net itself, "
                "and call averaged.update_parameters(net) in one of the trainer's callbacks"
            )
        optimizers.refuse_others(self.estimator.optimizer)

    @contextmanager
    def fitting(self, seed: int) -> Iterator[None]:
        modes = [(m, m.training) for m in self.module.modules()]
        with Stream(self.device, seed) as stream, torch.enable_grad(), _without_cache(self.device.type):
            self._stream, self._turn = stream, stream.turn
            self.module.train()
            self.estimator.optimizer.zero_grad(set_to_none=True)
            if isinstance(self.optimizer, StiefelMuon):
                self.optimizer.project()  # weights may have been loaded since it was made
            if self.ema_decay:
                self._averages = WeightAverages(self.module, self.estimator.optimizer, self.ema_decay)
            try:
                yield
            finally:
                if self._averages is not None:
                    self._averages.end()
                    self._averages = None
                for module, mode in modes:
                    module.training = mode
                self.estimator.optimizer.zero_grad(set_to_none=True)

    def drawing(self) -> AbstractContextManager[Any]:
        return self._turn()

    def training_data(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._preprocessing.at_fit:
            if self.nb_classes is not None and not self.multi_label:
                y = check_and_transform_label_format(y, self.nb_classes)
            x, y = self._preprocessing.defended(x, y)
        return x, self.labels(y)

    def batch(self, x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, labels = (as_tensor(x), as_tensor(y)) if index is None else (rows_of(x, index), rows_of(y, index))
        if labels.is_floating_point():
            labels = labels.to(self.dtype)
        return inputs.to(self.device, self.dtype, non_blocking=True), labels.to(self.device, non_blocking=True)

    def loss(
        self, x: torch.Tensor, y: torch.Tensor, shift_logits: LogitShift | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._loss_of(self._last(self._preprocessing.standardised(x)), y, shift_logits)

    def joins_passes(self, rows: int) -> bool:
        if not self._is_plain or self._eval_mode.modules or self._preprocessing.at_predict:
            return False
        sample = torch.zeros((1, *self.input_shape), dtype=self.dtype, device=self.device)
        return joins_passes(self.module, self._outputs, sample, rows)

    def joint_loss(
        self, rows: torch.Tensor, y: torch.Tensor, shift_logits: LogitShift | None = None
    ) -> tuple[torch.Tensor, ...]:
        outputs = self._last(self._preprocessing.standardised(rows))
        of_batch, beside = outputs.split([len(y), len(rows) - len(y)])
        loss, correct = self._loss_of(of_batch.clone(), y, shift_logits)  # a loss may write into its input
        return loss, correct, self._flat(of_batch), self._flat(beside)

    def deployed_loss(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with self._eval_mode:
            outputs = self._deployed(x.clone() if self._may_write else x)
            loss, correct = self._loss_of(outputs, y)
        return (loss if self.sums_loss else loss * len(x)), correct

    def gradient(
        self, x: torch.Tensor, scalar: Callable[[torch.Tensor], torch.Tensor], differentiable: bool = False
    ) -> torch.Tensor:
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            return torch.autograd.grad(scalar(x), x, create_graph=differentiable)[0]

    def noise(self, like: torch.Tensor, step: float, normal: bool = False) -> torch.Tensor:
        with self._turn():
            return torch.randn_like(like) if normal else torch.rand_like(like) * 2 - 1

    def log_softmax(self, t: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(t, 1)

    def update(self, objectives: Sequence[Objective]) -> tuple[torch.Tensor, ...]:
        optimizer, reported = self.estimator.optimizer, []
        try:
            with self._turn():
                for objective in objectives:
                    scalar, values = objective()
                    scalar.backward()
                    reported.append([v.detach() for v in values])
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise ValueError(
                    "BatchNorm cannot train on a batch of one; use batch_size >= 2, or drop_last=True"
                ) from error
            raise
        reported[-1] = self._averaged(reported[-1])
        if self.max_grad_norm is not None:
            optimizers.limit(self._parameters, self.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # here, so that no gradient is held while pairs climb
        return tuple(v for values in reversed(reported) for v in values)

    def _averaged(self, values: list[torch.Tensor]) -> list[torch.Tensor]:
        """Average over all devices: gradients in place, and some values."""
        return values

    def weights(self) -> list[torch.Tensor]:
        transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        matrices = []
        for module in self.module.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, torch.Tensor) and weight.requires_grad and weight.ndim >= 2:
                matrices.append((weight.transpose(0, 1) if isinstance(module, transposed) else weight).flatten(1))
        return matrices

    def stays_orthogonal(self, live: Callable[[], torch.Tensor]) -> bool:
        held = self.optimizer.orthogonal if isinstance(self.optimizer, StiefelMuon) else ()
        return any(live() is p for p in held)

    def matmul(self, a: torch.Tensor, b: torch.Tensor, transpose: bool = False) -> torch.Tensor:
        with torch.autocast(self.device.type, enabled=False):  # products of weights, which need their digits
            return a @ (b.mT if transpose else b)

    @torch.no_grad()
    def evaluate(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> tuple[float, float]:
        return super().evaluate(x, y, batch_size)

    def snapshot(self) -> Any:
        model = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        averages = None if self._averages is None else self._averages.state
        return model, copy.deepcopy(self.estimator.optimizer.state_dict()), averages

    def finish(self) -> None:
        if self._averages is not None:
            self._averages.put()

    def restore(self, snapshot: Any) -> None:
        model, optimizer, averages = snapshot
        if self._averages is not None and averages is not None:
            self._averages.state = averages
        self.module.load_state_dict(model)
        self.estimator.optimizer.load_state_dict(copy.deepcopy(optimizer))

    def pack(self, snapshot: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return snapshots.pack(snapshot)

    def unpack(self, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> Any:
        return snapshots.unpack(arrays, record, self.estimator.optimizer.param_groups)

    def randomness(self) -> list[np.ndarray]:
        return self._stream.states

    def set_randomness(self, states: list[np.ndarray]) -> None:
        self._stream.states = states

    def own_generators(self) -> list[str]:
        return global_random.own_generators(self.module.modules())

    def save_weights(self, path: str) -> None:
        state = self.estimator.model.state_dict()
        save_file({name: t.detach().cpu().contiguous().clone() for name, t in state.items()}, path)

    def is_finite(self) -> bool:
        norms = [torch.linalg.vector_norm(p.detach()) for p in self._parameters]
        return bool(np.isfinite(self.to_numpy(norms)).all())
