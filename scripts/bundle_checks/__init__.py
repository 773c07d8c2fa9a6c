"""What ``verify_bundles.py`` checks, one function a check, and what ``pack_bundle.py`` shares with it."""
