"""Bundles as wholes: those that come with the package, packing and opening one, what a model zoo asks of it."""
