"""LipSDP for convolutions in a row, at each frequency of a torus by itself."""
