"""What every scan's page takes from beside its own files: people, scale, controls, calibration, other models, atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas import Atlas, get
from neuroxai.bands import limit_of
from neuroxai.cohort.tables import People
from neuroxai.compare.controls import Controls, trained_alone
from neuroxai.compare.scores import Region
from neuroxai.compare.several_models import Models
from neuroxai.derivatives.explain_folder import ExplainFolder, Item
from neuroxai.derivatives.heatmaps import read_sidecar
from neuroxai.derivatives.predictions import calibrated_on, text_of
from neuroxai.derivatives.prepared import PreparedRecord, of_other_version, record_of
from neuroxai.derivatives.scales import Scale, common_limit, scale_of
from neuroxai.errors import InputError, LeakageError
from neuroxai.evaluation.calibration import Calibration
from neuroxai.evaluation.held_out import held_out_of, read_held_out, sentence
from neuroxai.io import read_tsv, read_volume
from neuroxai.pictures.viewer import Backdrop, Unprepared, leading_region, viewer_data
from neuroxai.report.values import Calibrated, Strength
from neuroxai.space import Volume

_MOST_CONTROLS = 50
_MOST_KEPT = 2**28  # bytes of heatmaps that stay in memory until their pages are drawn
_COLUMNS = {"age": "Age", "sex": "Sex", "diagnosis": "Diagnosis in the table", "group": "Group in the table"}


@dataclass(frozen=True)
class Beside:
    """Files beside an explain folder, all optional.

    Parameters
    ----------
    reference : path_like
        Controls, as `neuroxai compare --save-reference` wrote them; else the report's own controls are taken, if they
        are enough.
    calibration : path_like
        Folder (or predictions.tsv) of `neuroxai predict` on scans with true labels that the network was not trained on,
        and that are not explained here: the validation part.
    also : sequence of path_like
        Explain folders of the same scans by other trainings.
    """

    reference: Path | None = None
    calibration: Path | None = None
    also: Sequence[Path] = ()


@dataclass
class Context:
    """Built once a report; `of_scan` gives each page its part."""

    positive: str
    listed: Sequence[tuple[str, str]] = ()
    people: People | None = None
    scale: Scale | None = None
    held_out: str = ""
    calibrated_on: str = ""
    trust: str = ""
    controls: Controls | None = None
    no_controls: Sequence[str] = ()
    calibration: Calibration | None = None
    models: Models | None = None
    backdrop: Backdrop = field(default_factory=Backdrop)
    read: dict[str, Volume] = field(default_factory=dict)
    order: Sequence[tuple[str, str]] = ()

    @classmethod
    def of(
        cls, folder: ExplainFolder, table: Path | None, beside: Beside, broken: Mapping[str, str] | None = None
    ) -> Context:
        """Read what lies beside a folder.

        Raises
        ------
        InputError
            If something named cannot be used, or does not fit the folder.
        LeakageError
            If a participant of the report is among those that calibrate it.
        """
        read: dict[str, Volume] = {}
        controls = Controls.of_report(folder) if beside.reference is None else Controls.stored(beside.reference, folder)
        return cls(
            positive=folder.positive,
            scale=common_scale(folder, broken or {}),
            held_out=sentence(read_held_out(folder.record.held_out) or held_out_of(folder.items, folder.groups)),
            calibrated_on=calibrated_on(vars(folder.record)),
            trust=folder.record.trust or "",
            listed=[
                (label, str(value))
                for key, label in (("datalist", "Datalist"), ("part", "Part of the datalist"))
                if folder.record.datalist and (value := getattr(folder.record, key))
            ],
            people=read_people(table),
            controls=controls,
            no_controls=trained_alone(folder) if controls is None else (),
            calibration=None if beside.calibration is None else read_calibration(beside.calibration, folder),
            models=Models(folder, beside.also) if beside.also else None,
            backdrop=backdrop_of(folder, broken or {}, read),
            read=read,
            order=[(item.title, item.page) for item in folder.items if item.title not in (broken or {})],
        )

    def of_scan(
        self,
        item: Item,
        source: Path | None,
        heatmap: Volume,
        scan: Volume | None,
        regions: Sequence[Region],
        shown: Strength,
        before: Unprepared | None = None,
    ) -> tuple[dict[str, Any], list[str]]:
        """Return values for `ScanValues`, and what could not be had and why."""
        backdrop = self.backdrop.without(item.title, heatmap)
        row, record, notes = row_of(self.people, item), record_of(source) if source else None, list(self.no_controls)
        leading = leading_region((one.name, one.contrast, one.density) for one in regions)
        values: dict[str, Any] = {
            "person": about_person(row, scan, record),
            "flags": flags_of(record),
            "other_version": source is not None and record is None and of_other_version(source),
            "held_out": self.held_out,
            "trust": self.trust,
            "viewer": viewer_data(heatmap, scan, shown.limit, backdrop, shown.own, leading, before),
            "neighbours": self.neighbours(item.title),
            "calibrated_on": self.calibrated_on,
        }
        if self.calibration is not None:
            value, low, high = self.calibration.probability(item.probabilities[self.positive])
            values["calibrated"] = Calibrated(value, low, high, self.calibration.scans)
        if self.controls is not None and regions:
            try:
                values["controls"] = self.controls(item, row)
            except InputError as error:
                notes.append(f"No comparison with controls: {error}")
        if self.models is not None:
            try:
                values["models"] = self.models(item, heatmap, regions)
            except InputError as error:
                notes.append(f"No comparison with other models: {error}")
        return values, notes

    def neighbours(self, title: str) -> list[tuple[str, str, str]]:
        """Return the pages before and after a scan's: direction, title and page."""
        at = next((n for n, (one, _) in enumerate(self.order) if one == title), None)
        if at is None:
            return []
        beside = (("previous", at - 1), ("next", at + 1))
        return [(way, *self.order[n]) for way, n in beside if 0 <= n < len(self.order)]


def backdrop_of(folder: ExplainFolder, broken: Mapping[str, str], read: dict[str, Volume]) -> Backdrop:
    """Read the atlas and the mean heatmap of the report's controls that the network was not trained on.

    Of a large cohort `_MOST_CONTROLS` of them are taken, evenly chosen: the mean hardly changes with more. Their
    heatmaps, as long as they fit `_MOST_KEPT`, are put into `read` by title, for their own pages.
    """
    healthy = [i for i in folder.items if i.true == folder.groups[0] and i.seen != "training" and i.title not in broken]
    healthy = healthy[:: -(-len(healthy) // _MOST_CONTROLS) or 1]
    total, titles, space = None, set(), None
    for item in healthy:
        try:
            heatmap = read_volume(item.heatmap)
        except InputError:
            continue  # reported with its page
        space = space or heatmap.space
        if heatmap.space.matches(space):
            total = heatmap.data.astype(np.float64) + (0 if total is None else total)
            titles.add(item.title)
            if heatmap.data.nbytes * len(titles) <= _MOST_KEPT:
                read[item.title] = heatmap
    mean = Volume(total / len(titles), space) if space is not None and total is not None and len(titles) > 1 else None
    return Backdrop(atlas_of_record(folder.record.atlas), mean, frozenset(titles))


def read_calibration(place: Path, folder: ExplainFolder) -> Calibration:
    """Fit a calibration to other people's scans.

    Raises
    ------
    InputError
        If the table cannot be used, or has too few scans of a class.
    LeakageError
        If somebody of the report is among them, or a scan that the network was trained on.
    """
    path = place / "predictions.tsv" if place.is_dir() else place
    column = f"probability_{folder.positive}"
    table = read_tsv(path, required=("participant_id", "true", column))
    known = table[table["true"].map(text_of).isin(folder.classes)]
    trained = known[known["seen"] == "training"] if "seen" in known else known[:0]
    if len(trained):
        raise LeakageError(
            f"{path}: the network was trained on {trained['participant_id'].iloc[0]} ({len(trained)} of {len(known)} "
            "scans), expected scans that it had not: its probabilities of those are too sure. Predict the validation "
            "part (`neuroxai predict ... --part validation`)"
        )
    people = [text_of(name) for name in known["participant_id"]]
    both = sorted(set(people) & {item.participant_id for item in folder.items})
    if both:
        raise LeakageError(
            f"{path}: {both[0]} is in this report too ({len(both)} in all); calibrate on other people, such as "
            "those of the validation part"
        )
    return Calibration.fit(known["true"].map(text_of) == folder.positive, known[column].to_numpy(), people)


def atlas_of_record(noted: Any) -> Atlas | None:
    """Return the atlas that regions were scored by, where a copy of it is at hand: for names in the viewer alone."""
    name = noted.get("name") if isinstance(noted, Mapping) else noted
    if not isinstance(name, str):
        return None
    try:
        return get(name)
    except InputError:
        return None


def read_people(table: Path | None) -> People | None:
    """Read participants.tsv; None where there is no table.

    Raises
    ------
    InputError
        If the table is there and cannot be read.
    """
    return None if table is None or not table.is_file() else People(table, merge=True)


def row_of(people: People | None, item: Item) -> Mapping[str, Any]:
    """Return a scan's row, as cohorts are read (`neuroxai.cohort.tables`); an empty one where there is none."""
    found = "" if people is None else people.row_of(item.participant_id, item.session_id or None)
    return {} if isinstance(found, str) else found[1]


def about_person(row: Mapping[str, Any], scan: Volume | None, record: PreparedRecord | None) -> list[tuple[str, str]]:
    """Return label and value of what is known: age, sex, group; the scan's grid; how it was prepared."""
    entries = [(label, text) for key, label in _COLUMNS.items() if (text := text_of(row.get(key)))]
    if scan is not None:
        entries.append(("Scan's grid", scan.space.describe()))
    if record is not None:
        entries.append(("Prepared", record.how))
    return entries


def flags_of(record: PreparedRecord | None) -> Sequence[str] | None:
    """Return the quality flags of a prepared scan; None where it was not prepared by `neuroxai prepare`."""
    return None if record is None else [str(flag) for flag in record.flags]


def common_scale(folder: ExplainFolder, broken: Mapping[str, str]) -> Scale | None:
    """Return the scale of a folder's heatmaps: the one that its record notes, else that of the maps themselves."""
    if folder.record.scale is not None:
        return folder.record.scale
    return scale_of(
        (*_strength_of(item), (item.true or item.predicted) == folder.patients)
        for item in folder.items
        if item.title not in broken
    )


def strength(relevance: NDArray[np.float32], scale: Scale | None) -> Strength:
    """Place one heatmap, on the network's grid, among those of a scale."""
    own, total = limit_of(relevance), float(np.abs(relevance).sum(dtype=np.float64))
    limit = common_limit(scale, own)
    if scale is None or scale.limit < limit:  # explained after the others
        return Strength(total, own, own, "this scan's own")
    whose = f"that of the {scale.scans} scans explained together" if scale.scans > 1 else "this scan's own"
    if scale.source == "bundle":
        whose = f"the bundle's, kept from {scale.scans} scans"
    middle = float(np.median(scale.patients)) if scale.patients else None
    alone = scale.source != "bundle" and scale.scans == 1
    share = None if alone else scale.weaker_than(total)
    return Strength(total, own, limit, whose, share, len(scale.patients), middle)


def _strength_of(item: Item) -> tuple[float, float]:
    """Return limit and total of a heatmap, from its sidecar where that notes them."""
    try:
        sidecar = read_sidecar(item.sidecar)
        if sidecar.relevance_limit is not None and sidecar.relevance_absolute is not None:
            return sidecar.relevance_limit, sidecar.relevance_absolute
    except InputError:
        pass
    try:
        data = read_volume(item.heatmap).data
    except InputError:
        return 0.0, 0.0
    return limit_of(data), float(np.abs(data).sum(dtype=np.float64))
