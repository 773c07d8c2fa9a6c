"""Registration engines: ANTs and ITK behind one contract."""
