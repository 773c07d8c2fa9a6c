"""Numbers a region: gain, overlap, fingerprints, lesions, permutation tests, bootstrap, and references of controls."""

from neuroxai.statistics.averages import GroupMeans, TableMeans
from neuroxai.statistics.bootstrap import bootstrap, difference_interval, mean_interval, ratio_interval
from neuroxai.statistics.design import Subject
from neuroxai.statistics.fingerprints import cosine_distances, most_different
from neuroxai.statistics.gain import density, gain, group_gain, overlap, overlaps, top_regions
from neuroxai.statistics.intervals import Estimate, wilson
from neuroxai.statistics.lesions import lesion_coverage, lesion_relevance
from neuroxai.statistics.maps import l2_distance, l2_distances
from neuroxai.statistics.paired import Paired, paired_difference
from neuroxai.statistics.permutation import correlation, false_discovery, group_difference
from neuroxai.statistics.reference import Reference
from neuroxai.statistics.reference_file import read_reference, write_reference
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
    "read_reference",
    "roc_area",
    "top_regions",
    "wilson",
    "write_reference",
]
