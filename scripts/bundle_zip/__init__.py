"""What ``pack_bundle.py`` does: write a bundle to a zip file, and open one safely."""
