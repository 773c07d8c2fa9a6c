"""One way from a bundle and a scan to probability, heatmaps, region scores and files."""

from neuroxai.explain.attribute import Attributed, Attributor
from neuroxai.explain.explainer import OpenBundle, open_bundle
from neuroxai.explain.explanation import Explanation
from neuroxai.explain.options import ExplainOptions
from neuroxai.explain.writer import FolderWriter

__all__ = ["Attributed", "Attributor", "ExplainOptions", "Explanation", "FolderWriter", "OpenBundle", "open_bundle"]
