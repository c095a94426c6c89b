"""Layers of Keras that have no rule, and why."""

from __future__ import annotations

_PRODUCT = "it multiplies activations with each other, which is not globally Lipschitz"
_RECURRENT = (
    "its gates multiply activations with each other at each step, and no rule bounds what comes of it over the steps"
)
_UNIT = (
    "it divides by the norm of its input, so its slope near 0 is the inverse of that norm: 1e12 with Keras's epsilon, "
    "which says nothing. Use a normalisation with a larger epsilon"
)
_MASK = "the mask that it makes switches steps off where the input equals a number, which jumps"
_WHOLE = "its inputs are whole numbers, which have no Lipschitz constant"

# ``layers.`` or ``ops.``, and the name of the class.
REASONS = {
    **dict.fromkeys(("layers.MultiHeadAttention", "layers.GroupQueryAttention"), f"attention: {_PRODUCT}"),
    **dict.fromkeys(("layers.Attention", "layers.AdditiveAttention"), f"attention: {_PRODUCT}"),
    "ops.DotProductAttention": f"attention: {_PRODUCT}",
    **dict.fromkeys(("layers.Dot", "ops.Tensordot", "ops.Outer", "ops.Inner", "ops.Cross"), _PRODUCT),
    **dict.fromkeys(("layers.LSTM", "layers.GRU", "layers.ConvLSTM1D", "layers.ConvLSTM2D"), _RECURRENT),
    "layers.ConvLSTM3D": _RECURRENT,
    **dict.fromkeys(
        ("layers.RNN", "layers.SimpleRNN"), "no rule goes through the steps of a recurrence, so there is no upper bound"
    ),
    "layers.Bidirectional": "no rule goes through the steps of the recurrence in it, so there is no upper bound",
    **dict.fromkeys(("layers.UnitNormalization", "ops.Normalize"), _UNIT),
    "layers.Masking": _MASK,
    **dict.fromkeys(("layers.Embedding", "layers.ReversibleEmbedding", "layers.CategoryEncoding"), _WHOLE),
    **dict.fromkeys(
        ("layers.Discretization", "layers.Hashing", "layers.IntegerLookup"), "it jumps, so it is not Lipschitz"
    ),
    "layers.Lambda": (
        "no rule for 'Lambda', whose function may do anything, so there is no upper bound. Write it with keras.ops, or "
        "use lipschitz_lower_bound"
    ),
}
