"""What a scan's quality measures mean: thresholds with their reasons, and flags as sentences. Nothing is dropped here.

A mirrored brain in a header that claims otherwise cannot be seen: brains, and the default template exactly, are
symmetric to a measurement. What can be seen is a mapping that mirrors, two affines of one header that contradict each
other, and a header with neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from neuroxai.errors import InputError, one_of
from neuroxai.preprocess.options import MODALITIES, REGISTRATIONS
from neuroxai.preprocess.qc.measures import Measure


@dataclass(frozen=True)
class Thresholds:
    """Limits of the measures of `neuroxai.preprocess.qc.measures.measure`; None leaves a measure unjudged.

    The defaults are for T1w scans after affine registration to the T1w template. In brackets what 18 real scans of
    four sources gave (10 IXI, 1 ds002748, 6 Lesjak 2017, 1 3D FLAIR), what 48 more of ds002748 gave that came affinely
    registered to MNI152 by other software (the 49th, visibly misregistered, has a correlation of .29 and an overlap of
    .89), and what made-up faults did to four of them. FLAIR of a healthy elderly head was not among them.

    Parameters
    ----------
    pearson : float or None
        Least correlation with the template, T1w alone [.42 to .58 linear, .59 to .66 non-linear; 10 degrees off .34 to
        .38; noise alone .06].
    mutual_information : float or None
        Least, for any contrast [1.017 to 1.031; noise alone 1.002 to 1.005; the neck 1.008].
    dice : float or None
        Least overlap of brain masks [.91 to .97 linear, .960 to .981 non-linear; 10 mm off .89 to .90].
    contrast_least, contrast_most : float or None
        Of white against grey matter, as T1w [.07 to .20] and FLAIR [-.11 to -.03] differ in sign.
    brain_least, brain_most : float or None
        Brain volume in ml [1339 to 1738]; masks of adults and schoolchildren, with fluid, lie within.
    pieces : float or None
        Most of the mask outside its largest piece [0; an eye .004, islands of 1 ml .0006].
    leak : float or None
        Most of the mask in one piece more than 10 mm outside the template's brain, where nose, eyes and throat are.
        Chosen on every second of 49 masks of ds002748 [0 to .0018 where none leaks, .0040 and more where they reach
        into the skull's base and throat; planted: nose .0039, throat .0062, an eye by its nerve .0028 and more]; held
        against the others [0 to .0018, three of .0026 to .0037; .0039, .0062 and .0028], and against five heads of
        other sources prepared here (1 T1w of IXI, 1 healthy 3D FLAIR, 3 FLAIR of two persons with MS; deepbet): none is
        flagged as it is [0 to .0001, in one piece], all are with each planted fault [nose .0047, throat .0074, an eye
        by its nerve .0034; an eye alone .0037 and islands of 2 ml .0021 in pieces].
    missing : float or None
        Most of the template's brain in one piece more than 10 mm from the mask [0; a planted lack of a temporal pole
        or the cerebellum more: ``scripts/experiments/brain_masks.py``].
    cut : float or None
        Most of the brain's surface on one face of the scan [0 to .014 where nothing visible is lost, .029 to .037 for
        slices that end in the brain; 5 mm off the top .024 to .042].
    outside_scan : float or None
        Most of the template's brain beyond the scan [0 to .004; .023 for slices that end in the brain; 20 mm off the
        top .05 to .08].
    outside_grid : float or None
        Most of the brain that the output grid cuts off [0].
    orientation : bool
        Flag headers whose affines are absent, differ by more than 1 mm, or contradict each other about left and right.
    scale_least, scale_most : float or None
        Native over template size along an axis [.83 to 1.06].
    shear : float or None
        Most [.05].
    rotation : float or None
        Most, in degrees [8 to 25; lying on the head or back to front 155 to 179].
    folded : float or None
        Most of the template's brain where the warp folds [0].
    slice_mm : float or None
        Thickest slice: beyond it, partial volume blurs the cortex and the hippocampus, which is about 8 mm thick.
    head_share : float or None
        Least tissue around the brain: below it the scan was skull-stripped before [0 against .57 to 1.83].
    noise : float or None
        Most, over the brain's median [.02 to .06; .12 with 10 % noise added, .21 with 20 %].
    """

    pearson: float | None = 0.38
    mutual_information: float | None = 1.01
    dice: float | None = 0.9
    contrast_least: float | None = 0.03
    contrast_most: float | None = None
    brain_least: float | None = 800.0
    brain_most: float | None = 2100.0
    pieces: float | None = 0.0005
    leak: float | None = 0.0025
    missing: float | None = 0.0025
    cut: float | None = 0.02
    outside_scan: float | None = 0.02
    outside_grid: float | None = 0.005
    orientation: bool = True
    scale_least: float | None = 0.7
    scale_most: float | None = 1.2
    shear: float | None = 0.15
    rotation: float | None = 45.0
    folded: float | None = 0.001
    slice_mm: float | None = 3.5
    head_share: float | None = 0.15
    noise: float | None = 0.15

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not isfinite(value):
                raise InputError(
                    f"threshold {name!r} is {value}, expected a finite number, or None to leave it unjudged"
                )


_AGAINST_TEMPLATE = [
    "pearson",
    "mutual_information",
    "dice",
    "leak",
    "missing",
    "contrast_least",
    "contrast_most",
    "outside_scan",
]


def thresholds(arm: str, modality: str = "T1w") -> Thresholds:
    """Return the defaults for a registration variant and a modality.

    Without registration ("none") nothing can be asked of the likeness to the template, nor of where its brain lies.
    FLAIR scans are not asked to correlate with the T1w template, and their white matter must not be brighter than grey.

    Raises
    ------
    InputError
        If variant or modality is unknown.
    """
    if arm not in REGISTRATIONS:
        raise one_of("registration variant", arm, REGISTRATIONS)
    if modality not in MODALITIES:
        raise one_of("modality", modality, MODALITIES)
    result = Thresholds()
    if arm == "nonlinear":
        result = replace(result, pearson=0.5, mutual_information=1.013, dice=0.94)
    if modality == "FLAIR":
        result = replace(result, pearson=None, contrast_least=None, contrast_most=0.03)
    unjudged: dict[str, Any] = dict.fromkeys(_AGAINST_TEMPLATE) if arm == "none" else {}
    return replace(result, **unjudged)


@dataclass(frozen=True)
class Flag:
    """Something about a scan that a person should look at.

    Parameters
    ----------
    code : str
        Short, for tables: ``"cut_superior"``.
    sentence : str
        With the value got and the value expected.
    """

    code: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"


@dataclass(frozen=True)
class _Rule:
    """Flag `measure` where it is below (or above) the threshold of name `limit`; `always`: also where it is missing."""

    code: str
    measure: str
    limit: str
    below: bool
    sentence: str
    always: bool = False
    form: str = ".3f"


_FACES = ("left", "right", "posterior", "anterior", "inferior", "superior")
_RULES = (
    _Rule("unlike_template", "pearson", "pearson", True, "correlation with the template", True),
    _Rule(
        "unrelated_to_template",
        "mutual_information",
        "mutual_information",
        True,
        "mutual information with the template",
        True,
    ),
    _Rule("brain_overlap", "dice", "dice", True, "overlap (Dice) of the brain mask with the template's"),
    _Rule("modality", "tissue_contrast", "contrast_least", True, "white against grey matter, unlike T1w:", True),
    _Rule("modality", "tissue_contrast", "contrast_most", False, "white against grey matter, unlike FLAIR:", True),
    _Rule("brain_small", "brain_ml", "brain_least", True, "brain volume in ml", form=".0f"),
    _Rule("brain_large", "brain_ml", "brain_most", False, "brain volume in ml", form=".0f"),
    _Rule(
        "brain_in_pieces",
        "brain_pieces_share",
        "pieces",
        False,
        "share of the brain mask outside its largest piece",
        form=".4f",
    ),
    _Rule(
        "brain_leaks",
        "brain_leak",
        "leak",
        False,
        "share of the brain mask in one piece over 10 mm outside",
        form=".4f",
    ),
    _Rule(
        "brain_lacks",
        "brain_missing",
        "missing",
        False,
        "share of the template's brain in one piece over 10 mm off",
        form=".4f",
    ),
    *(
        _Rule(f"cut_{face}", f"cut_{face}", "cut", False, f"share of the brain's surface on the scan's {face} face")
        for face in _FACES
    ),
    _Rule("outside_scan", "outside_scan", "outside_scan", False, "share of the template's brain outside the scan"),
    _Rule("outside_grid", "outside_grid", "outside_grid", False, "share of the brain cut off by the output grid"),
    _Rule("small_against_template", "scale_least", "scale_least", True, "scaling of the affine along an axis"),
    _Rule("large_against_template", "scale_most", "scale_most", False, "scaling of the affine along an axis"),
    _Rule("shear", "shear", "shear", False, "shear of the affine"),
    _Rule("rotation", "rotation_degrees", "rotation", False, "rotation of the affine in degrees", form=".1f"),
    _Rule("folded", "folded", "folded", False, "share of the brain where the warp folds", form=".4f"),
    _Rule("thick_slices", "slice_mm", "slice_mm", False, "slice thickness in mm", form=".2f"),
    _Rule("already_stripped", "head_share", "head_share", True, "tissue around the brain over the brain's volume"),
    _Rule("noise", "noise", "noise", False, "noise over the brain's median intensity", True),
)
_ORIENTATIONS = {
    "unknown": "the header has neither sform nor qform, so left and right are a guess; convert the scan anew",
    "mirrored": "sform and qform contradict each other about left and right; find out which is true",
    "differ": "sform and qform put a corner {distance:.1f} mm apart (at most 1.0); the sform was used where it is set",
}


def threshold_table() -> list[str]:
    """Return the limits as lines of a Markdown table, which the docs print."""
    columns = [thresholds(arm, modality) for modality in MODALITIES for arm in ("linear", "nonlinear")]
    heads = [f"{modality}, {arm}" for modality in MODALITIES for arm in ("linear", "nonlinear")]
    lines = [f"| flag | flagged where | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    for rule in _RULES:
        side = "is below" if rule.below else "is above"
        limits = (getattr(column, rule.limit) for column in columns)
        shown = " | ".join("-" if limit is None else f"{limit:g}" for limit in limits)
        lines.append(f"| `{rule.code}` | {rule.sentence.rstrip(':')} {side} | {shown} |")
    return lines


def flags(measures: Mapping[str, Measure], limits: Thresholds | None = None) -> list[Flag]:
    """Compare measures with thresholds.

    Parameters
    ----------
    measures : mapping
        As `neuroxai.preprocess.qc.measures.measure` gives them.
    limits : Thresholds, optional
        See `thresholds`; those of T1w and linear registration by default.

    Returns
    -------
    list of Flag
        In the order of the measures; empty for a scan with nothing to be looked at.
    """
    chosen = Thresholds() if limits is None else limits
    found = []
    for rule in _RULES:
        limit, value = getattr(chosen, rule.limit), measures.get(rule.measure)
        if limit is None or rule.measure not in measures:
            continue
        expected = f"expected {'at least' if rule.below else 'at most'} {limit:{rule.form}}"
        if value is None or isinstance(value, str):
            if rule.always:
                found.append(Flag(rule.code, f"{rule.sentence} cannot be measured, {expected}"))
        elif not isfinite(value) or (value < limit if rule.below else value > limit):
            found.append(Flag(rule.code, f"{rule.sentence} {value:{rule.form}}, {expected}"))
    return found + _orientation_flags(measures, chosen)


def _orientation_flags(measures: Mapping[str, Measure], limits: Thresholds) -> list[Flag]:
    found = []
    determinant = measures.get("determinant")
    if isinstance(determinant, float) and determinant < 0:
        sentence = f"the mapping swaps left and right (determinant {determinant:.2f}, expected above 0)"
        found.append(Flag("mirrored", sentence))
    state = str(measures.get("orientation"))
    if limits.orientation and state in _ORIENTATIONS:
        distance = measures.get("orientation_mm")
        text = _ORIENTATIONS[state].format(distance=distance if isinstance(distance, float) else float("nan"))
        found.append(Flag(f"orientation_{state}", text))
    return found
