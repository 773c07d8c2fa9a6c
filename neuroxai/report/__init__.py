"""Pages for people: one self-contained HTML file a scan and one for the cohort. Same input, same bytes."""

from neuroxai.report.build import Report, build_report
from neuroxai.report.context import Beside
from neuroxai.report.filling import filling_figure
from neuroxai.report.filters import filter_figures
from neuroxai.report.page import cohort_page, scan_page
from neuroxai.report.quality import quality_figure
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
    "quality_figure",
    "scan_page",
]
