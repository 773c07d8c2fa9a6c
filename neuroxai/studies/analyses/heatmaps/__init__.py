"""Which heatmaps can be believed: methods against known truth, on the trainings of each arm.

`measure` writes, for each arm and split, what was measured of each method (`neuroxai.evaluation.heatmaps.trust`), so
that work that is interrupted goes on; `analyse` makes figures of what is written.
"""

from __future__ import annotations

from neuroxai.studies.analyses.heatmaps.cards import analyse
from neuroxai.studies.analyses.heatmaps.measure import check, measure

__all__ = ["analyse", "check", "measure"]
