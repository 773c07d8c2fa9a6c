"""Write what explanations come to, each file whole or not at all: heatmaps, sidecars, region scores, tables."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from neuroxai import io
from neuroxai.atlas import Atlas
from neuroxai.bands import limit_of
from neuroxai.cohort import check_distinct, class_groups
from neuroxai.cohort.seen import SeenScans
from neuroxai.derivatives import scales
from neuroxai.derivatives.dataset import describe
from neuroxai.derivatives.explained import ExplainRecord, write_record, write_region_columns, write_regions
from neuroxai.derivatives.explained import read_record as read_record_of_call
from neuroxai.derivatives.heatmap_names import NETWORK, ORIGINAL
from neuroxai.derivatives.heatmaps import ScanFiles, Sidecar, names_digest, write_sidecar
from neuroxai.derivatives.predictions import FAR, Prediction, read_rows, write_predictions
from neuroxai.evaluation.held_out import held_out_of, keep_held_out
from neuroxai.explain.attribute import Attributed
from neuroxai.explain.options import ExplainOptions
from neuroxai.explain.predict import class_of
from neuroxai.explain.provenance import prepared_provenance, relative_source, scale_key, trust_in
from neuroxai.explain.scores import Scores
from neuroxai.explain.sharding import gathered, is_main_process, shard_of
from neuroxai.explain.weights import read_record
from neuroxai.preprocess.mapping import native_of
from neuroxai.space import Space, Volume

_log = logging.getLogger("neuroxai")

WAITING = 2  # batches that may wait to be written, so that memory stays bounded


class FolderWriter:
    """Write the output folder of `neuroxai explain`.

    The network-space sidecar of a scan is written last: where it and the files that it lists stand whole, a scan is
    finished, so that a rerun goes on where a former one was stopped (`pending`). At the end (`finish`) come the
    folder's tables, with the rows of scans that earlier calls explained: ``predictions.tsv``, ``regions.tsv`` and
    ``explain.json``. Heatmaps that start at a hidden layer or go through chosen channels have names of their own
    (``desc-lrpAlphaBetaPifP03F1``); their record is ``explain_lrpAlphaBetaPifP03F1.json``, and the tables of the folder
    stay as they are. Processes that torchrun started share the scans out; the first one writes the tables.

    Parameters
    ----------
    output_dir : str
        Where to write; a BIDS derivative.
    options : ExplainOptions
        With the target as an index, or ``"predicted"``.
    space : Space
        The network's grid.
    classes : sequence of str
        Class names in the order of labels.
    checkpoint : str
        The weights' path, for the checksum.
    bundle : str
        The bundle's name.
    dataset_dir : str
        The cohort's folder; sources are named relative to it.
    datalist, split : str, optional
        Where the scans asked for are listed, and in which part of it; None for scans that no datalist lists.
    tables : bool
        False: another process writes the folder's tables, once all scans are done.
    network : torch.nn.Module, optional
        Says where relevance starts, if the options do not.
    """

    def __init__(
        self,
        output_dir: str,
        options: ExplainOptions,
        space: Space,
        classes: Sequence[str],
        checkpoint: str = "",
        bundle: str = "",
        dataset_dir: str = "",
        datalist: str | None = None,
        split: str | None = None,
        tables: bool = True,
        network: nn.Module | None = None,
    ) -> None:
        options = options if network is None else options.settled(network, (1, *space.shape))
        self.output_dir, self.options, self.space, self.classes = Path(output_dir), options, space, list(classes)
        self.tables = tables
        self.failures: list[dict[str, str]] = []
        self._asked: list[dict[str, Any]] = []
        self.dataset_dir = Path(dataset_dir).resolve() if dataset_dir else None
        self._folder = str(self.dataset_dir) if self.dataset_dir else None
        self.listed: dict[str, Any] = {
            "datalist": self._relative(datalist) if datalist else None,
            "part": split if datalist else None,
        }
        self.training = read_record(checkpoint) if checkpoint else {}
        self.seen = SeenScans(self.training, self.dataset_dir)
        self.scores = Scores(options.atlas, options.labels, space, options.score_space)
        self._names = None if self.scores.scorers is None else dict(self.scores.scorers.atlas.names)
        self.run = options.run(checkpoint, bundle, space)
        self._weights = Path(checkpoint).parent if checkpoint else None
        self._key = scale_key(self.run)
        hidden = self._weights is None or self.run.start_label
        self._stored = None if hidden else scales.stored_scale(Path(checkpoint).parent, self._key)
        # one thread writes, while the network is at the next batch
        self._writing = ThreadPoolExecutor(1, "write")
        self._waiting: deque[Future[None]] = deque()

    @property
    def regions(self) -> Atlas | None:
        """The atlas on the network's grid, or None where no regions are scored."""
        scorers = self.scores.scorers
        return None if scorers is None else scorers.atlas.resampled_to(self.space)

    def pending(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the scans of this process that are not finished with these settings.

        The tables at the end hold all of `items`, those that other processes explain too.
        """
        check_distinct(items)
        for item in items:
            scan = str(item["image"])
            self._files(item).check_source(self._relative(scan), self._folder, Path(scan))
        self._asked = list(items)
        # shared out before anybody looks what is finished, since the others may be at work already
        return [item for item in shard_of(items) if self._finished(item) is None]

    def _finished(self, item: Mapping[str, Any], content: bool = True) -> Sidecar | None:
        sidecar = self._standing(self._files(item), content)
        # the same path may stand for another content
        scan = Path(item["image"])
        if sidecar is None or sidecar.source != self._relative(str(scan)) or not scan.is_file():
            return None
        if not content:
            return sidecar
        same = sidecar.orientation == io.given_orientation(scan)
        return sidecar if same and sidecar.source_sha256 == io.sha256(scan) else None

    def _standing(self, files: ScanFiles, content: bool) -> Sidecar | None:
        """Return the sidecar of results that stand whole and were made with these settings; names are mended."""
        sidecar = files.standing(content)
        if sidecar is None or sidecar.run != self.run or sidecar.prediction is None:
            return None
        # explained before scans were compared with the training scans, or accepted then and not now
        if sidecar.prediction.fit == FAR and not self.options.accept_unfit:
            return None
        if sidecar.names_sha256 != names_digest(self._names):
            return files.renamed(sidecar, self._names or {})
        return sidecar

    def finish(self, failures: Sequence[Mapping[str, str]] = ()) -> None:
        """Write the folder's tables and record, once all scans asked for are done or have failed."""
        self._wait(0)
        if not self.tables:
            return
        self.failures = gathered([dict(one) for one in failures], self.output_dir)
        if not is_main_process():
            return
        # the tables hold the rows of other calls too, which may be at work in the folder: the jobs of an array
        with io.one_at_a_time(self.output_dir):
            self._complete()

    def _complete(self) -> None:
        failed = {(one["participant_id"], one["session_id"]) for one in self.failures}
        rows, maps = self._rows_before(failed | {_who(item) for item in self._asked})
        for item in self._asked:
            files = self._files(item)
            if _who(item) in failed:
                files.drop_changed(Path(item["image"]))
                continue
            # contents were compared when the work was shared out
            sidecar = self._finished(item, content=False)
            if sidecar is None or sidecar.prediction is None:
                continue
            truth = class_of(item.get("label"), self.classes)
            if truth is not None and sidecar.true != truth:
                sidecar = replace(sidecar, true=truth, prediction=replace(sidecar.prediction, true=truth))
                write_sidecar(files.sidecar(), sidecar)
            rows.append(sidecar.row)
            maps.append(scales.ScanMap.of(files, sidecar))
        label = self.run.start_label
        if not label:  # the folder's tables belong to the explanation of a class
            write_predictions(self.output_dir / "predictions.tsv", rows, self.classes, self.training)
            if self.scores.scorers is not None:
                write_regions(self.output_dir / "regions.tsv", [one.files for one in maps])
        if self.scores.scorers is not None:
            write_region_columns(self.output_dir)
        describe(self.output_dir, self.dataset_dir)
        held_out = None if label else held_out_of(rows, class_groups(self.classes))
        if self._weights is not None and not label:
            held_out = keep_held_out(self._weights, self.run.checkpoint_sha256, held_out)
        record = ExplainRecord(
            **vars(self.run),
            classes=self.classes,
            dataset_dir=self._folder,
            **self.listed,
            scans=len(rows),
            held_out=None if held_out is None else held_out.to_dict(),
            scale=None if label else self._common_scale(maps),
            failed=self.failures,
            operating_point=self.training.get("operating_point"),
            trust=None if label or self._weights is None else trust_in(self._weights, self.run),
        )
        write_record(self.output_dir / (f"explain_{self.run.description}.json" if label else "explain.json"), record)

    def _rows_before(self, now: set[tuple[str, str]]) -> tuple[list[Prediction], list[scales.ScanMap]]:
        """Return the folder's rows of scans explained by earlier calls and not by this one.

        Those explained by the same network in another way keep their predictions alone.
        """
        table, record = self.output_dir / "predictions.tsv", self.output_dir / "explain.json"
        if self.run.start_label or not table.is_file():
            return [], []
        former = read_record_of_call(record) if record.is_file() else ExplainRecord()
        same_network = former.checkpoint_sha256 == self.run.checkpoint_sha256
        rows, maps, others = [], [], 0
        for row in read_rows(table):
            if row.who in now:
                continue
            files = ScanFiles(self.output_dir, *row.who, self.run.description)
            if (sidecar := self._standing(files, content=False)) is not None:
                rows.append(sidecar.row)
                maps.append(scales.ScanMap.of(files, sidecar))
            elif same_network and set(self.classes) <= set(row.probabilities):
                rows.append(row)
            else:
                others += 1
        if others:
            _log.warning("%d scans that another network explained are left out of the tables now", others)
        return rows, maps

    def _common_scale(self, maps: Sequence[scales.ScanMap]) -> scales.Scale | None:
        """Settle one scale for all heatmaps of the folder."""
        patients = class_groups(self.classes)[1]
        scale = scales.wider(scales.own_scale(maps, patients), self._stored)
        if scale is not None and self.run.maps:
            for files in (one.files for one in maps):
                if (sidecar := self._standing(files, content=False)) is not None:
                    scales.display(sidecar, files, scale)
        # as with the AUC, what comes with the bundle is of scans that the network has not learned by heart
        unseen = scales.own_scale((one for one in maps if one.seen != "training"), patients)
        if unseen is not None and self._weights is not None:
            scales.store_scale(self._weights, self._key, unseen)
        return scale

    def write(
        self, batch: Attributed, rows: Sequence[Prediction], scans: Sequence[Space], sources: Sequence[str]
    ) -> None:
        """Have the heatmaps of a batch written, with sidecars and region scores; `finish` waits for the last.

        What fails is raised by one of the next calls.

        Parameters
        ----------
        batch : Attributed
            What came of it.
        rows : sequence of Prediction
            One per scan.
        scans : sequence of Space
            The scans' own grids.
        sources : sequence of str
            Their files.
        """
        self._waiting.append(self._writing.submit(self._write_batch, batch, rows, scans, sources))
        self._wait(WAITING)

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()

    def _write_batch(
        self, batch: Attributed, rows: Sequence[Prediction], scans: Sequence[Space], sources: Sequence[str]
    ) -> None:
        heatmaps = batch.heatmap.float()
        tables = self.scores(heatmaps, scans)
        for n, (row, scan, table) in enumerate(zip(rows, scans, tables, strict=True)):
            name = self.classes[int(batch.target[n])]
            explained = {"target": name, "score": row.score, "probability": row.probabilities[name]}
            if batch.activation is not None:  # what relevance started from is no class
                explained = {"target": None, "score": float(batch.activation[n]), "probability": None}
            self._write_scan(row, heatmaps[n, 0].cpu().numpy(), scan, str(sources[n]), table, explained)

    def _write_scan(
        self, row: Prediction, heatmap: NDArray[Any], scan: Space, source: str, table: Any, explained: dict[str, Any]
    ) -> None:
        place = ScanFiles(self.output_dir, *row.who, self.run.description)
        description = f"neuroxai {self.run.description} of {explained['target'] or 'a hidden layer'}"
        limit, digest = limit_of(heatmap), io.sha256(source)
        sidecar = Sidecar(
            **vars(self.run),
            **explained,
            prediction=row,
            predicted=row.predicted,
            true=row.true,
            source=self._relative(source),
            source_sha256=digest,
            seen=self.seen.part(row.participant_id, digest),
            source_folder=self._folder,
            orientation=io.given_orientation(source),
            prepared=prepared_provenance(source),
            names_sha256=names_digest(self._names),
            relevance_sum=float(np.sum(heatmap, dtype=np.float64)),
            relevance_absolute=float(np.abs(heatmap).sum(dtype=np.float64)),
            relevance_limit=limit,
            space=self.space.to_dict(),
        )
        files: list[Path] = []
        for space, volume in self._grids(Volume(heatmap, self.space), scan, source).items():
            # the limit of all scans is known at the end (`_common_scale`)
            shown = scales.common_limit(self._stored, limit)
            files.append(io.write_volume(place.heatmap(space), volume, description=description, display=shown))
            if space != NETWORK:
                beside = replace(sidecar, space=volume.space.to_dict())
                files.append(write_sidecar(place.sidecar(space), beside))
        if table is not None:
            files.append(io.write_tsv(place.regions, table))
        place.finish(sidecar, files)

    def _grids(self, network: Volume, scan: Space, source: str) -> dict[str, Volume]:
        """Return a heatmap on each grid that it is written on, by the label of its space.

        Off the network's grid it is interpolated for looking at (smoothed where the scan is coarser). The map of a
        prepared scan goes back to the scan as the scanner gave it, which the clinician knows.
        """
        found = {NETWORK: network} if self.run.maps else {}
        if self.run.native:
            found[ORIGINAL] = network.resampled_to(scan)
            if (scanner := native_of(source)) is not None:
                found[scanner.label] = scanner(network)
        return found

    def _files(self, item: Mapping[str, Any]) -> ScanFiles:
        return ScanFiles(self.output_dir, *_who(item), self.run.description)

    def _relative(self, source: str) -> str:
        return relative_source(source, self.dataset_dir)


def _who(item: Mapping[str, Any]) -> tuple[str, str]:
    return str(item["participant_id"]), str(item.get("session_id") or "")
