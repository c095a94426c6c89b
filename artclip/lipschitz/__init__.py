"""How steep a model is: difference quotients and the pairs that climb them."""
