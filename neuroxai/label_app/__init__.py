"""The MONAI Label app: explanations of trained bundles inside 3D Slicer and OHIF.

It runs in an environment of its own (``scripts/label_env.sh``), since MONAI Label needs an older numpy. ``answer`` is
what is sent back and knows no server; ``app`` and ``task`` are MONAI Label's view of it; ``launch`` starts the server.
"""
