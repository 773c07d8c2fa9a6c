"""What a model zoo asks of a bundle, one function a check."""
