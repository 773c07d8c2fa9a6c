"""Cohorts: participants.tsv and scans to a table, to splits without leakage, to datalists that MONAI reads."""

from neuroxai.cohort.datalist import check_datalist, check_distinct, load_datalist, write_datalist
from neuroxai.cohort.labels import Labelled, label_scans
from neuroxai.cohort.match import Matched, match_sex
from neuroxai.cohort.people import UNKNOWN, Described, class_groups, describe, known_labels, two_groups
from neuroxai.cohort.scans import LeftOut, Scan, find_scans
from neuroxai.cohort.split import SplitOptions, split_cohort
from neuroxai.cohort.summary import summary
from neuroxai.cohort.table import Cohort, read_cohort

__all__ = [
    "UNKNOWN",
    "Cohort",
    "Described",
    "Labelled",
    "LeftOut",
    "Matched",
    "Scan",
    "SplitOptions",
    "check_datalist",
    "check_distinct",
    "class_groups",
    "describe",
    "find_scans",
    "known_labels",
    "label_scans",
    "load_datalist",
    "match_sex",
    "read_cohort",
    "split_cohort",
    "summary",
    "two_groups",
    "write_datalist",
]
