"""All that touches TensorFlow and Keras: files of the same names as for PyTorch hold the same."""
