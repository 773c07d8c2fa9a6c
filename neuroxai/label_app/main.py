"""What MONAI Label looks for in an app's folder: a module ``main`` with the app's class."""

from neuroxai.label_app.app import NeuroxaiApp

__all__ = ["NeuroxaiApp"]
