"""What holds in a ball around a sample, where it is more than what holds everywhere."""
