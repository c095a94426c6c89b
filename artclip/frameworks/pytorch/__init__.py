"""All that touches PyTorch."""
