"""From the files of one explained scan to DICOM objects beside its series."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai import io
from neuroxai.bands import Band, bands, limit_of
from neuroxai.derivatives.heatmaps import RESEARCH_USE, Sidecar, read_regions, read_sidecar
from neuroxai.derivatives.records import to_json
from neuroxai.derivatives.scales import Scale, common_limit
from neuroxai.errors import InputError
from neuroxai.explain.overlay import overlay
from neuroxai.io.names import sidecar_of
from neuroxai.preprocess.mapping import native_of
from neuroxai.space import Volume

_NAMES = {
    "map": "relevance_parametric-map.dcm",
    "bands": "relevance_bands_seg.dcm",
    "regions": "atlas_regions_seg.dcm",
    "summary": "summary_sr.dcm",
}
PICTURES = "overlay"
"""Folder of the colour pictures, beside the objects."""
_FORM = 2  # of the objects: another form of the same result is another object
_MOST = 10  # regions that the summary lists for and against


def write_dicom(
    heatmap: Path,
    table: Path,
    series: str | Path,
    out: Path,
    choice: str | None = None,
    atlas: Any = None,
    scale: Scale | None = None,
    pictures: bool = False,
) -> list[Path]:
    """Write Parametric Map, Segmentation of bands and summary of one explained scan: all of them, or none.

    Parameters
    ----------
    heatmap : Path
        On the series' own grid, with its sidecar.
    table : Path
        Its scores of regions, which may be absent.
    series : path_like
        Folder or files of the series.
    out : Path
        Folder of the objects.
    choice : str, optional
        Which series, where the folder holds several.
    atlas : Atlas, optional
        In the network's space; its regions are then written on the series' grid as a Segmentation too.
    scale : Scale, optional
        The common one of heatmaps made so, whose limit is 100 % of the bands; the scan's own by default.
    pictures : bool
        Write the overlay over every slice as colour pictures too.

    Returns
    -------
    list of Path
        What was written; objects of an earlier call are replaced. A heatmap too weak for the lowest band has none, and
        none are written.

    Raises
    ------
    InputError
        If the series or the heatmap cannot be used, or they do not lie on one grid.
    """
    origin = io.read_origin(series, choice)
    volume, sidecar = io.read_volume(heatmap), read_sidecar(sidecar_of(heatmap))
    # NIfTI keeps the affine in float32: the series' own is meant
    volume = Volume(volume.data, origin.space) if volume.space.matches(origin.space) else volume
    target = sidecar.target or "a hidden layer"
    limit = common_limit(scale, float(sidecar.relevance_limit or limit_of(volume.data)))
    percent = percent_of(sidecar)
    noted = to_json(sidecar)
    about = io.Description(
        label=f"{sidecar.method} for {target}",
        method=sidecar.method,
        options=sidecar.options or {},
        target=target,
        seed=json.dumps(
            [_FORM, limit, *(noted[key] for key in sorted(noted) if key not in ("source", "source_folder"))],
            default=str,
        ),
        density=percent.density,
        limit=limit,
        use=RESEARCH_USE,
    )
    with _workshop(out) as here:
        io.write_parametric_map(here / _NAMES["map"], volume, origin, about)
        labels, found = bands(volume.data, limit=limit)
        if labels.any():
            segments = [
                io.Segment(band.value, band.name(target), band.colour, _range(band, limit * percent.density))
                for band in found
            ]
            io.write_segmentation(here / _NAMES["bands"], Volume(labels, origin.space), segments, origin, about)
        if atlas is not None:
            back = native_of(sidecar.scan(sidecar.source_folder) or "")
            labelled = Volume(atlas.labels, atlas.space)
            regions = (
                labelled.resampled_to(origin.space, order=0)
                if back is None
                else Volume(back.mapping.carry_back(labelled, origin.space, order=0).data, origin.space)
            )
            segments = [io.Segment(value, name, _colour(value)) for value, name in atlas.names.items() if value]
            io.write_segmentation(here / _NAMES["regions"], regions, segments, origin, about, kind="regions")
        rows = read_regions(table, ("sum",)) if table.is_file() else None
        whose = "the scan's own" if scale is None or scale.limit < limit else f"common to {scale.scans} scans"
        lines = summary(sidecar, rows) | {
            "Bands": f"shares of relevance {limit:.4g} ({whose})" + ("" if labels.any() else "; too weak for any"),
            "Scale": f"{limit * percent.density:.3g} % of the score per mL is 100 % of the bands; relevance x "
            f"{percent.density:.6g} is % of the score per mL",
        }
        io.write_report(here / _NAMES["summary"], origin, about, lines)
        if pictures:
            scan, _ = io.read_series(series, choice)
            told = (
                about.label,
                f"blue: against {target}, orange: for {target}",
                f"ends: {limit * percent.density:.3g} % of the score per mL",
                RESEARCH_USE,
            )
            drawn, zoom = overlay(scan, volume, limit, io.sides(origin), told)
            io.write_captures(here / PICTURES, drawn, origin, about, zoom)
        out.mkdir(parents=True, exist_ok=True)
        made = [path.name for path in objects_in(here) if path.parent == here]
        for name in made:
            os.replace(here / name, out / name)
        for name in set(_NAMES.values()) - set(made):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / PICTURES, ignore_errors=True)
        if pictures:
            os.replace(here / PICTURES, out / PICTURES)
    return objects_in(out)


def objects_in(out: Path) -> list[Path]:
    """Return the objects that `write_dicom` has written into a folder, pictures last."""
    objects = [out / name for name in _NAMES.values() if (out / name).is_file()]
    return objects + (sorted((out / PICTURES).iterdir()) if (out / PICTURES).is_dir() else [])


@dataclass(frozen=True)
class Percent:
    """How relevance, a number too small to be read, becomes percent of the score that it is a part of.

    Parameters
    ----------
    score : float
        What is explained, in absolute value: the probability of the class where relevance starts there, or its logit.
    volume : float
        Of a voxel of the network, mL: relevance belongs to that one, whatever grid it is shown on.
    """

    score: float
    volume: float

    @property
    def of_sum(self) -> float:
        """Factor of sums of relevance to percent of the score."""
        return 100 / self.score

    @property
    def density(self) -> float:
        """Factor of a voxel's relevance to percent of the score per millilitre, the same for every voxel size."""
        return self.of_sum / self.volume


def percent_of(sidecar: Sidecar) -> Percent:
    """Return the unit in which the objects of a heatmap are; a score of 0 counts as 1.

    Raises
    ------
    InputError
        If the sidecar does not note the network's grid.
    """
    if sidecar.grid is None:
        raise InputError("the heatmap's sidecar holds no network_space; explain the scan again")
    score = sidecar.probability if sidecar.start == "probability" else sidecar.score
    return Percent(abs(float(score or 0.0)) or 1.0, sidecar.grid.voxel_volume / 1000)


def _range(band: Band, limit: float) -> str:
    ends = f"{band.low * limit:.3g} " + ("and more" if np.isinf(band.high) else f"to {band.high * limit:.3g}")
    return f"{ends} % of the score per mL. {RESEARCH_USE}"


def remove_objects(out: Path) -> None:
    """Remove the objects that an earlier call has written."""
    for name in _NAMES.values():
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / PICTURES, ignore_errors=True)


def check_dicom(series: str | Path, out: Path, choice: str | None = None) -> list[str]:
    """Write objects of an empty map beside a series, and take them away again: what fails then costs no minutes.

    Parameters
    ----------
    series, out, choice
        As for `write_dicom`.

    Returns
    -------
    list of str
        What the objects cannot take over from the series as it stands.

    Raises
    ------
    InputError
        If no objects can be written beside this series, or not into that folder.
    """
    origin = io.read_origin(series, choice)
    about = io.Description("trial", "trial", {}, "trial", "trial")
    empty = Volume(np.zeros(origin.space.shape, np.float32), origin.space)
    one = np.zeros(origin.space.shape, np.uint8)
    one[0, 0, 0] = 1
    with _workshop(out) as here:
        io.write_parametric_map(here / _NAMES["map"], empty, origin, about)
        segment = io.Segment(1, "trial", (255, 0, 0))
        io.write_segmentation(here / _NAMES["bands"], Volume(one, origin.space), [segment], origin, about)
        io.write_report(here / _NAMES["summary"], origin, about, {"trial": "trial"})
    return list(origin.remarks)


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """Yield a folder on the same disk, which is gone afterwards."""
    near = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not near.is_dir():
        raise InputError(f"{near}: is a file, expected a folder for the DICOM objects; choose another --dicom-out")
    with tempfile.TemporaryDirectory(prefix=".dicom-", dir=near) as folder:
        yield Path(folder)


def summary(sidecar: Sidecar, regions: Any = None) -> dict[str, str | float]:
    """Say in lines what was found: classes, method, regions, provenance.

    Parameters
    ----------
    sidecar : Sidecar
        The heatmap's.
    regions : pandas.DataFrame, optional
        Its region scores.
    """
    row = sidecar.prediction
    if row is None:
        raise InputError("the heatmap's sidecar holds no prediction; explain the scan again")
    lines: dict[str, str | float] = {
        "Model": sidecar.bundle or "unnamed bundle",
        "Predicted class": row.predicted,
    }
    lines |= {f"Probability of {name}": value for name, value in row.probabilities.items()}
    options = ", ".join(f"{key} {value}" for key, value in (sidecar.options or {}).items())
    lines["Explained"] = f"class {sidecar.target}, by {sidecar.method}" + (f" ({options})" if options else "")
    percent = percent_of(sidecar)
    lines["Score"] = f"{percent.score:.6g} ({sidecar.start or 'logit'} of {sidecar.target}) is 100 % of the score"
    if regions is not None:
        for title, part in (("for", regions.nlargest(_MOST, "sum")), ("against", regions.nsmallest(_MOST, "sum"))):
            chosen = part[part["sum"] > 0] if title == "for" else part[part["sum"] < 0]
            sums = zip(chosen["name"], percent.of_sum * chosen["sum"], strict=True)
            named = "; ".join(f"{name} {value:.3g} % of the score" for name, value in sums)
            lines[f"Regions with most relevance {title} the class (sums)"] = named or "none"
    lines["Limits"] = (
        "A heatmap says which voxels the score of this network rests on. It does not measure disease, and says nothing "
        "of whether the decision is right."
    )
    lines["Checkpoint (SHA-256)"] = str(sidecar.checkpoint_sha256)
    lines["Software"] = ", ".join(f"{name} {version}" for name, version in (sidecar.versions or {}).items())
    return lines


def _colour(value: int) -> tuple[int, int, int]:
    """Give each region a colour of its own that is not too dark: steps of the golden angle around the hues."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb((value * 0.618034) % 1.0, 0.55, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
