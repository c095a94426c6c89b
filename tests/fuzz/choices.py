"""Random choices that both vocabularies make."""


def pick(rng, *values):
    return values[rng.integers(len(values))]


def number(rng, low=-2.0, high=2.0):
    return float(rng.uniform(low, high))
