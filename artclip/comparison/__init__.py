"""Defences side by side: what each gives, and at what cost."""
