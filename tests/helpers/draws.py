"""How many examples property tests draw where each takes long; of the others the profiles in conftest.py tell."""

from __future__ import annotations

from hypothesis import settings

COSTLY = settings(max_examples=max(8, settings.default.max_examples // 10))
