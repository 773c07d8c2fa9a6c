"""Named brain regions: read an atlas, build one without a download, and sum heatmaps over its regions.

`RegionScorer` and `RegionScores` need torch, which is imported when one of them is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuroxai.atlas.atlas import Atlas
from neuroxai.atlas.builtin import builtin
from neuroxai.atlas.named import NAMES, find, get
from neuroxai.atlas.readers import load

if TYPE_CHECKING:
    from neuroxai.atlas.score import RegionScorer, RegionScores

__all__ = ["NAMES", "Atlas", "RegionScorer", "RegionScores", "builtin", "find", "get", "load"]


def __getattr__(name: str) -> Any:
    if name in ("RegionScorer", "RegionScores"):
        from neuroxai.atlas import score

        return getattr(score, name)
    raise AttributeError(f"module 'neuroxai.atlas' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
