"""Gradients of a class score, and methods that pass them back in ways of their own."""
