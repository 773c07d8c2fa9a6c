"""OASIS-1 (Marcus 2007): grey-matter maps through nilearn's fetcher, dementia rating as label."""

from __future__ import annotations

import os
from pathlib import Path

from neuroxai.cohort.public.writing import Entry
from neuroxai.cohort.table import finite
from neuroxai.errors import InputError
from neuroxai.io.names import BidsName

ABOUT = {
    "Name": "OASIS-1 grey-matter maps (SPM DARTEL, MNI152, 2 mm)",
    "License": "OASIS Data Use Agreement, https://sites.wustl.edu/oasisbrains/",
    "ReferencesAndLinks": ["Marcus et al. (2007), Journal of Cognitive Neuroscience 19, 1498-1507"],
}

Fetched = tuple[list[Entry], dict[str, int]]


def oasis_entries(
    subjects: int | None = None, data: str | os.PathLike[str] | None = None, download: bool = False
) -> Fetched:
    """Find the maps, and label them by the clinical dementia rating: 0 is CN, above 0 AD.

    Parameters
    ----------
    subjects : int, optional
        The first so many of nilearn's list; all (403) by default.
    data : path_like, optional
        nilearn's data folder.
    download : bool
        Fetch what is not there (some gigabytes; by this you agree to OASIS's terms). Without it nothing is fetched.

    Returns
    -------
    entries : list of Entry
        With mmse, cdr and education where they are given.
    left_out : dict of str to int
        Subjects without a rating: the young of that data set, who were not rated.

    Raises
    ------
    InputError
        If the maps are not there and nothing may be fetched, or the fetch fails.
    """
    from nilearn import datasets

    place = _folder(data)
    table = place / "oasis_cross-sectional.csv" if place else None
    if not download and (table is None or not table.is_file()):
        there = place or "nilearn's data folders"
        raise InputError(
            f"{there}: OASIS-1 is not there; add --download to fetch it with nilearn (some gigabytes, under OASIS's "
            "data use agreement), or name nilearn's data folder with --data"
        )
    folder = os.fspath(data) if data is not None else None
    if subjects is not None and subjects < 2:
        raise InputError(f"subjects is {subjects}, expected 2 or more, or none for all")
    # without leave to fetch, an address at which nothing is: what is absent then stays so
    where = {} if download else {"url": "file:///nowhere"}
    try:
        found = datasets.fetch_oasis_vbm(subjects, data_dir=folder, verbose=0, **where)
    except Exception as error:  # whatever network, disk or archive do
        if download:
            reason = f"could not be fetched ({type(error).__name__}: {error}); try again later"
        else:
            reason = (
                f"is there in part only ({type(error).__name__}); add --download to fetch the rest, or ask for fewer "
                "--subjects"
            )
        raise InputError(f"OASIS-1 {reason}") from None
    rows = {str(row["id"]): row for row in found.ext_vars.to_dict("records")}
    entries, left_out = [], 0
    for path in map(Path, found.gray_matter_maps):
        row = rows.get(path.parent.name, {})
        rating = finite(row.get("cdr"))
        if rating is None:
            left_out += 1
            continue
        who = "sub-" + path.parent.name.replace("_", "")
        columns = {
            "diagnosis": "AD" if rating > 0 else "CN",
            "age": finite(row.get("age")),
            "sex": row.get("mf"),
            "cdr": rating,
            "mmse": finite(row.get("mmse")),
            "education": finite(row.get("educ")),
        }
        ending = "".join(s for s in path.suffixes[-2:] if s in (".nii", ".gz"))
        name = BidsName(who, "", {"space": "MNI152", "desc": "greymatter"}, "probseg", ending)
        entries.append(Entry(who, "", path, str(name), columns))
    return entries, ({"without a dementia rating": left_out} if left_out else {})


def _folder(data: str | os.PathLike[str] | None) -> Path | None:
    from nilearn.datasets import get_data_dirs

    roots = [data] if data is not None else get_data_dirs()
    for root in roots:
        if (Path(root) / "oasis1").is_dir():
            return Path(root) / "oasis1"
    return Path(data) / "oasis1" if data is not None else None
