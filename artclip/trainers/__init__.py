"""How to train a flatter model: CLIP, and weight regularisation as its baseline."""
