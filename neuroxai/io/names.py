"""File names of BIDS derivatives: the one place that knows how results are called."""

from __future__ import annotations


def method_label(method: str) -> str:
    """Return a method as BIDS label, letters and digits alone: ``lrp_alpha_beta`` becomes ``lrpAlphaBeta``."""
    first, *rest = method.split("_")
    return first + "".join(word.capitalize() for word in rest)


def heatmap_name(participant: str, session: str | None, space: str, method: str) -> str:
    """Return a heatmap's path relative to its derivative's folder.

    >>> heatmap_name("sub-01", "ses-M00", "network", "lrp_alpha_beta")
    'sub-01/ses-M00/anat/sub-01_ses-M00_space-network_desc-lrpAlphaBeta_heatmap.nii.gz'
    """
    parts = [part for part in (participant, session) if part]
    name = f"{'_'.join(parts)}_space-{space}_desc-{method_label(method)}_heatmap.nii.gz"
    return "/".join([*parts, "anat", name])
