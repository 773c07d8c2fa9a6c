"""Public cohorts as cohort folders: OASIS-1 through nilearn, ADNI from Clinica's layouts and its own table."""

from __future__ import annotations

from neuroxai.cohort.public.adni import adni_entries
from neuroxai.cohort.public.oasis import oasis_entries
from neuroxai.cohort.public.writing import Entry, PublicSummary, write_cohort

__all__ = ["Entry", "PublicSummary", "adni_entries", "oasis_entries", "write_cohort"]
