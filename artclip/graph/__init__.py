"""A network as a graph of layers that no framework owns: float64 weights, and what each layer does and how steeply.

Images are flattened channels first. Shapes are those of one sample.
"""

from artclip.graph import activations
from artclip.graph.activations import ACTIVATIONS, Activation
from artclip.graph.layer_graph import LayerGraph, through
from artclip.graph.linear import IDENTITY, Add, Concat, Convolution, Dense, Gather, Kronecker, Scale
from artclip.graph.nodes import Linear, Live, Node, Operation
from artclip.graph.nonlinear import Maximum, Normalisation, PowerNorm, Softmax, Sort, each, windows

__all__ = [
    "ACTIVATIONS",
    "IDENTITY",
    "Activation",
    "Add",
    "Concat",
    "Convolution",
    "Dense",
    "Gather",
    "Kronecker",
    "LayerGraph",
    "Linear",
    "Live",
    "Maximum",
    "Node",
    "Normalisation",
    "Operation",
    "PowerNorm",
    "Scale",
    "Softmax",
    "Sort",
    "activations",
    "each",
    "through",
    "windows",
]
