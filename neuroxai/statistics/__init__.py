"""Regional statistics: gain, overlap, fingerprints, lesions, permutation tests, bootstrap, references of controls."""

from neuroxai.statistics.bootstrap import bootstrap, difference_interval, mean_interval, ratio_interval
from neuroxai.statistics.design import Subject
from neuroxai.statistics.intervals import Estimate, wilson
from neuroxai.statistics.maps import (
    GroupMeans,
    TableMeans,
    l2_distance,
    l2_distances,
    lesion_coverage,
    lesion_relevance,
)
from neuroxai.statistics.paired import Paired, paired_difference
from neuroxai.statistics.permutation import correlation, false_discovery, group_difference
from neuroxai.statistics.reference import Reference
from neuroxai.statistics.regions import (
    cosine_distances,
    density,
    gain,
    group_gain,
    most_different,
    overlap,
    overlaps,
    top_regions,
)
from neuroxai.statistics.roc import compare_areas, delong, roc_area

__all__ = [
    "Estimate",
    "GroupMeans",
    "Paired",
    "Reference",
    "Subject",
    "TableMeans",
    "bootstrap",
    "compare_areas",
    "correlation",
    "cosine_distances",
    "delong",
    "density",
    "difference_interval",
    "false_discovery",
    "gain",
    "group_difference",
    "group_gain",
    "l2_distance",
    "l2_distances",
    "lesion_coverage",
    "lesion_relevance",
    "mean_interval",
    "most_different",
    "overlap",
    "overlaps",
    "paired_difference",
    "ratio_interval",
    "roc_area",
    "top_regions",
    "wilson",
]
