"""Who is in which part: the table that a paper prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neuroxai.cohort.datalist import check_datalist, parts_of

if TYPE_CHECKING:
    import pandas as pd


def summary(datalist: Mapping[str, Any]) -> pd.DataFrame:
    """Count subjects and scans of each part and class.

    Parameters
    ----------
    datalist : mapping
        As `split_cohort` makes it or as read from the file.

    Returns
    -------
    pandas.DataFrame
        One row a part and class: part, class, subjects, scans, F, M, other (sex unknown or another, in subjects),
        age_mean, age_sd, age_min, age_max (years, of each subject's youngest scan in the part; missing where unknown).
        A subject whose class changes over time counts once in each class.
    """
    import pandas as pd

    check_datalist(datalist)
    rows = []
    for part in parts_of(datalist):
        for label, name in enumerate(datalist["classes"]):
            items = [item for item in datalist[part] if item["label"] == label]
            people: dict[str, dict[str, Any]] = {}
            for item in items:
                person = people.setdefault(str(item.get("participant_id", item["image"])), {"sex": None, "ages": []})
                person["sex"] = item.get("sex") or person["sex"]
                person["ages"] += [item["age"]] if isinstance(item.get("age"), int | float) else []
            sexes = [person["sex"] for person in people.values()]
            ages = pd.Series([min(p["ages"]) for p in people.values() if p["ages"]], dtype="float64")
            rows.append(
                {
                    "part": part,
                    "class": name,
                    "subjects": len(people),
                    "scans": len(items),
                    "F": sexes.count("F"),
                    "M": sexes.count("M"),
                    "other": len(sexes) - sexes.count("F") - sexes.count("M"),
                    "age_mean": ages.mean(),
                    "age_sd": ages.std(),
                    "age_min": ages.min(),
                    "age_max": ages.max(),
                }
            )
    return pd.DataFrame(rows)
