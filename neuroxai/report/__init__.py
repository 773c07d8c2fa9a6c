"""HTML reports: one self-contained file per scan and one for the cohort. Same input, same bytes."""

from neuroxai.report.build import Report, build_report
from neuroxai.report.inputs import Beside
from neuroxai.report.page import cohort_page, scan_page
from neuroxai.report.plots.filters import filter_figures
from neuroxai.report.plots.prepared import filling_figure, preparation_page, quality_figure
from neuroxai.report.values import CohortValues, ScanValues

__all__ = [
    "Beside",
    "CohortValues",
    "Report",
    "ScanValues",
    "build_report",
    "cohort_page",
    "filling_figure",
    "filter_figures",
    "preparation_page",
    "quality_figure",
    "scan_page",
]
