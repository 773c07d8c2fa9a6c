"""What the columns of a simulated cohort's participants.tsv mean."""

from __future__ import annotations

_ADDED = {
    "twin": "Source of the scan; who shares it must stay in one part of a split",
    "lesion_mask": "Number of the real lesion mask transplanted, in the order of their names; 0 for controls",
    "lesion_mirrored": "1 where the mask was mirrored left to right",
    "head_size": "Factor on the head's size, from MNI152 to the scan",
    **{f"pose_rotation_{a}_degrees": f"Rotation vector of the pose (MNI152 to scan), {a} in degrees" for a in "xyz"},
    **{f"pose_shift_{a}_mm": f"Where the pose puts the brain's centre, {a} in mm of the scan" for a in "xyz"},
}


def meaning(column: str, own: bool = False) -> dict[str, str]:
    """Write a column's entry in participants.json.

    Parameters
    ----------
    column : str
        Its name.
    own : bool
        Whether the cohort is made from the user's own scans.
    """
    known = {
        "participant_id": "Participant",
        "diagnosis": "Class: patients carry the effect, controls are sham twins of dose 0",
        "age": "Age in years, from one distribution for both classes; without influence on the scan",
        "sex": "Sex, balanced over the classes; without influence on the scan",
        "dose": "Effect asked for: hippocampal volume loss in percent (atrophy) or lesion load in ml (lesions)",
        "lesion_count": "Lesions laid; they may overlap",
        "lesion_volume_mm3": "Integral of the lesion opacity over the scan, in mm^3 of the scan's own coordinates",
        "brain_volume_mm3": "Volume of the brain mask with ventricles; follows the natural shape only, not the effect",
    }
    if own:
        known.update(
            {
                "diagnosis": "Class: patients carry the effect, controls are sham twins of dose 0 of one scan",
                "age": "Age in years, of the source",
                "sex": "Sex, of the source",
                "dose": "Volume loss asked for of each region in percent (atrophy), or lesion load in ml (lesions)",
                "brain_volume_mm3": "Volume of the brain mask with ventricles; the same for twins",
            }
        )
    known.update(_ADDED)
    if column in known:
        return {"Description": known[column]}
    if own and column.endswith("_volume_mm3"):
        region = column.removesuffix("_volume_mm3").replace("_", " ")
        return {"Description": f"Volume of {region}: the soft region's integral over the scan's grid, effect included"}
    if own and column.endswith("_loss_percent"):
        region = column.removesuffix("_loss_percent").replace("_", " ")
        return {
            "Description": f"Volume that {region} lost by the effect, measured on the scan's grid with and without it",
            "Units": "percent",
        }
    if column.endswith("_volume_mm3"):
        region = column.removesuffix("_volume_mm3").replace("_", " ")
        return {
            "Description": f"Volume of the {region}: integral of the soft template region pulled back into the scan, "
            "effect and natural shape included",
            "Units": "mm^3",
        }
    region, word = column.removesuffix("_percent").rsplit("_", 1)
    return {
        "Description": f"Realised {word} of {region.replace('_', ' ')} volume (both sides) by the effect alone: the "
        "Jacobian determinant of the planted diffeomorphism integrated over the soft template region",
        "Units": "percent",
    }
