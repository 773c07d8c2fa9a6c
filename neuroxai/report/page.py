"""Values to HTML. Pure: same values, same text; nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from neuroxai.canvas import COLOURS
from neuroxai.report.method_limits import limits_of
from neuroxai.report.values import CohortValues, ScanValues


def scan_page(values: ScanValues) -> str:
    """Return the self-contained HTML page of one scan.

    Parameters
    ----------
    values : ScanValues
        Everything shown; text in it is escaped.
    """
    return _rendered("scan.html", values, ["viewer.js"] if values.viewer else [], limits=limits_of(values.method))


def cohort_page(values: CohortValues) -> str:
    """Return the self-contained HTML page of a cohort."""
    return _rendered("cohort.html", values, ["table.js"])


def _rendered(template: str, values: Any, scripts: Sequence[str], **more: Any) -> str:
    """Fill a template; the page's policy lets the scripts named run, by their checksums, and nothing else."""
    import markupsafe

    environment = _environment()
    texts = [environment.loader.get_source(environment, name)[0] for name in scripts]
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return str(
        environment.get_template(template).render(
            page=values,
            colours=COLOURS,
            # our own files, not data
            scripts=[markupsafe.Markup(text) for text in texts],  # noqa: S704
            policy=" ".join(f"'sha256-{one}'" for one in sums),
            **more,
        )
    )


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure for people: significant digits, a true minus sign; ``n/a`` where there is none."""
    if value is None or not math.isfinite(value):
        return "n/a"
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """Write a share as a percentage with one decimal."""
    return "n/a" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def data_uri(png: bytes) -> str:
    """Return a PNG as a data URI, so that the page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("neuroxai.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=number, percent=percent, data_uri=data_uri)
    return environment
