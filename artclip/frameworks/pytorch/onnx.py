"""ONNX files: as PyTorch modules where onnx2torch can convert them, else as black boxes of onnxruntime."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from artclip.frameworks.loaded import LoadedModel, library, said
from artclip.safety import ModelFileError

_DTYPES = {1: np.float32, 10: np.float16, 11: np.float64}  # elem_type of ONNX
_OPSET = 17  # the newest that onnx2torch has most rules for
_CLOSE = 1e-3  # of outputs by both libraries, relative to the largest


def load(path: str, trust: bool) -> LoadedModel:
    """The model in an ONNX file; with gradients if onnx2torch is there and agrees with onnxruntime."""
    graph = library("onnx", "onnx").load(path)
    library("onnx", "onnx").checker.check_model(graph)
    weights = {w.name for w in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in weights]
    kind = inputs[0].type.tensor_type if len(inputs) == 1 else None
    if kind is None or kind.elem_type not in _DTYPES or len(kind.shape.dim) < 2:
        raise ModelFileError(
            f"{path} takes {len(inputs)} inputs ({', '.join(v.name for v in inputs)}); expected one batch of floats"
        )
    batch, *shape = (d.dim_value for d in kind.shape.dim)
    dtype = np.dtype(_DTYPES[kind.elem_type])
    box = _black_box(path, batch, dtype)
    try:
        return LoadedModel(_converted(graph, batch, tuple(shape), dtype, box), tuple(shape))
    except ImportError as error:  # a converter that is missing, or needs a torchvision that does not fit
        why = str(error)
    except Exception as error:  # one that has no rule
        why = f"onnx2torch cannot convert it ({said(error)}). "
        why += f"torch.onnx.export(..., opset_version={_OPSET}) may fare better"
    warnings.warn(
        f"{path} runs in onnxruntime, without gradients, so only black-box attacks apply; {why}", stacklevel=2
    )
    return LoadedModel(box, tuple(shape), black_box=True)


def _black_box(path: str, batch: int, dtype: Any) -> Callable[[np.ndarray], np.ndarray]:
    session = library("onnxruntime", "onnx").InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def outputs(x: np.ndarray) -> np.ndarray:
        size = batch or max(len(x), 1)
        whole = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)]).astype(dtype)
        parts = [session.run(None, {name: whole[i : i + size]})[0] for i in range(0, len(whole), size)]
        return np.concatenate(parts)[: len(x)].astype(np.float32)

    return outputs


def _converted(graph: Any, batch: int, shape: tuple[int, ...], dtype: Any, box: Callable[..., np.ndarray]) -> Any:
    """The graph as a module, if it does what the black box does."""
    torch = library("torch", "torch")
    convert, programs = library("onnx2torch", "onnx").convert, import_module("artclip.frameworks.pytorch.programs")
    converted = convert(_plain(graph)).eval()
    module = programs.Program(converted, batch or None, True, getattr(torch, dtype.name))
    module = programs.for_any_batch(module, lambda: convert(_plain(_loosened(graph, batch))).eval(), shape)
    if all(shape):
        x = np.random.default_rng(0).uniform(size=(2, *shape)).astype(np.float32)
        with torch.no_grad():
            ours, theirs = module(torch.from_numpy(x)).numpy(), box(x)
        if not np.allclose(ours, theirs, rtol=0, atol=_CLOSE * max(1.0, float(np.abs(theirs).max()))):
            raise ValueError(f"its outputs differ from those of onnxruntime by {np.abs(ours - theirs).max():.2g}")
    return module


def _loosened(model: Any, batch: int) -> Any:
    """The model with shapes that begin with the size of the batch left open."""
    copy, numpy_helper = type(model)(), import_module("onnx.numpy_helper")
    copy.CopyFrom(model)
    shapes = {node.input[1] for node in copy.graph.node if node.op_type == "Reshape" and len(node.input) > 1}
    constants = [(w.name, w) for w in copy.graph.initializer]
    constants += [(n.output[0], n.attribute[0].t) for n in copy.graph.node if n.op_type == "Constant" and n.attribute]
    for name, tensor in constants:
        value = numpy_helper.to_array(tensor) if name in shapes else None
        if value is not None and value.ndim == 1 and len(value) > 1 and value[0] == batch:
            tensor.CopyFrom(numpy_helper.from_array(np.array([0, *value[1:]], np.int64), tensor.name))  # 0: as it was
    return copy


def _plain(model: Any) -> Any:
    """The model in an opset that onnx2torch knows, its weights named where they are used, and its nodes by number."""
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), _OPSET)
    if version != _OPSET:
        model = import_module("onnx.version_converter").convert_version(model, _OPSET)
    graph = model.graph
    weights = {w.name for w in graph.initializer}
    copies = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Identity" and n.input[0] in weights}
    for i, node in enumerate(graph.node):
        node.name = f"node_{i}"  # onnx2torch writes names into Python code, and a name may hold code
        for j, name in enumerate(node.input):
            node.input[j] = copies.get(name, name)
    for node in [node for node in graph.node if node.output[0] in copies]:
        graph.node.remove(node)
    return model
