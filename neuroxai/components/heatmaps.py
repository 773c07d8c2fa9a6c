"""A handler that writes heatmaps, sidecars and region scores, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.components.predictions import prediction_rows, write_predictions
from neuroxai.space import Space, Volume

RESEARCH_USE = "For research use only; not a medical device."


class HeatmapSaver:
    """Write heatmaps in the network's space and in the scan's own, with sidecar and region scores.

    The network-space sidecar is written last: where it stands, a scan is finished, so that a rerun goes on where a
    former one was stopped (`pending`). At the end come ``predictions.tsv`` and ``explain.json``.

    Parameters
    ----------
    output_dir : str
        Where to write; a BIDS derivative.
    space : Space
        The network's grid.
    classes : sequence of str
        Class names in the order of labels.
    method : str
        Name of the attribution method.
    options : dict
        Its options.
    target : int or "predicted"
        The class explained, as the inferer has it.
    start : str, optional
        Where relevance starts, as the inferer has it.
    checkpoint : str
        The weights' path, for the checksum.
    dataset_dir : str
        The cohort's folder; sources are named relative to it.
    bundle : str
        The bundle's name.
    atlas : str or None
        Regions to score: "builtin" or another name of `neuroxai.atlas.NAMES`, the path of a label image, or None for no
        scores.
    labels : str, optional
        Path of the label image's names.
    native : bool
        Write the heatmap in the scan's own space too.
    """

    def __init__(
        self,
        output_dir: str,
        space: Space,
        classes: Sequence[str],
        method: str,
        options: Mapping[str, Any] | None = None,
        target: int | str = 1,
        start: str | None = None,
        checkpoint: str = "",
        dataset_dir: str = "",
        bundle: str = "",
        atlas: str | None = "builtin",
        labels: str | None = None,
        native: bool = True,
    ) -> None:
        from neuroxai.atlas import RegionScorer, get
        from neuroxai.attribution import takes_start

        self.output_dir = Path(output_dir)
        self.space = space
        self.classes = list(classes)
        self.native = native
        self.scorer = None
        if atlas is not None:
            self.scorer = RegionScorer(get(atlas, labels).resampled_to(space))
        self.dataset_dir = Path(dataset_dir).resolve() if dataset_dir else None
        self._asked: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {
            "method": method,
            "options": dict(options or {}),
            "start": start if takes_start(method) else None,
            "explained": target,
            "checkpoint_sha256": io.sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else None,
            "bundle": bundle,
            "atlas": _atlas_facts(atlas),
            "native": native,
            "network_space": space.to_dict(),
            "versions": {"neuroxai": __version__, "torch": torch.__version__},
            "ResearchUse": RESEARCH_USE,
        }

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose inferer is an `AttributionInferer` (``decollate`` off)."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def pending(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the scans that are not finished with these settings; the tables at the end hold all of `items`."""
        self._asked = list(items)
        return [item for item in items if self._finished(item) is None]

    def _finished(self, item: dict[str, Any]) -> dict[str, Any] | None:
        path = _json_of(self._path(str(item["participant_id"]), str(item.get("session_id") or ""), "network"))
        if not path.is_file():
            return None
        sidecar: dict[str, Any] = io.read_json(path)
        same = all(sidecar.get(key) == value for key, value in self.facts.items())
        # the same identifier may stand for another file now, and the same path for another content
        scan = Path(item["image"])
        same = same and sidecar.get("source") == self._relative(str(scan))
        same = same and scan.is_file() and sidecar.get("source_sha256") == io.sha256(scan)
        return sidecar if same else None

    def _finish(self, engine: Engine) -> None:
        rows = []
        for item in self._asked:
            sidecar = self._finished(item)
            if sidecar is not None:
                truth = self.classes[int(item["label"])] if "label" in item else None
                rows.append({**sidecar["prediction"], "true": truth})
        write_predictions(self.output_dir / "predictions.tsv", rows, self.classes)
        failures = getattr(engine.data_loader, "failures", [])
        io.write_json(
            self.output_dir / "explain.json",
            {
                **self.facts,
                "classes": self.classes,
                "dataset_dir": str(self.dataset_dir) if self.dataset_dir else None,
                "scans": len(rows),
                "failed": [failure.__dict__ for failure in failures],
            },
        )

    def _write(self, engine: Engine) -> None:
        output, batch = engine.state.output["pred"], engine.state.batch
        heatmaps = output["heatmap"].float()
        scores = self.scorer(heatmaps) if self.scorer is not None else None
        rows = prediction_rows(batch, output["logits"], self.classes, output["target"])
        tables = scores.to_frame([row["participant_id"] for row in rows]) if scores is not None else None
        for n, row in enumerate(rows):
            table = None
            if tables is not None and scores is not None:
                regions = scores.sum.shape[1]
                table = tables.iloc[n * regions : (n + 1) * regions].drop(columns="participant_id")
            scan = Space(batch["scan_shape"][n].tolist(), batch["scan_affine"][n].numpy())
            self._write_scan(
                row, heatmaps[n, 0].cpu().numpy(), scan, str(batch["source"][n]), table, output["target"][n]
            )

    def _write_scan(
        self, row: dict[str, Any], heatmap: np.ndarray[Any, Any], scan: Space, source: str, table: Any, target: Any
    ) -> None:
        participant, session = row["participant_id"], row["session_id"]
        name = self.classes[int(target)]
        network = Volume(heatmap, self.space)
        sidecar = {
            **self.facts,
            "target": name,
            "score": row["score"],
            "probability": row[f"probability_{name}"],
            "prediction": row,
            "predicted": row["predicted"],
            "true": row["true"],
            "source": self._relative(source),
            "source_sha256": io.sha256(source),
            "source_folder": str(self.dataset_dir) if self.dataset_dir else None,
            "relevance_sum": float(np.sum(heatmap, dtype=np.float64)),
        }
        if self.native:
            # interpolated for looking at (smoothed where the scan is coarser): sums are taken in the network's space
            native = network.resampled_to(scan)
            path = self._path(participant, session, "orig")
            io.write_volume(path, native, description=f"neuroxai {self.facts['method']} of {name}")
            io.write_json(_json_of(path), {**sidecar, "space": scan.to_dict()})
        path = self._path(participant, session, "network")
        io.write_volume(path, network, description=f"neuroxai {self.facts['method']} of {name}")
        if table is not None:
            io.write_tsv(str(path).replace("_heatmap.nii.gz", "_regions.tsv"), table)
        io.write_json(_json_of(path), {**sidecar, "space": self.space.to_dict()})

    def _path(self, participant: str, session: str | None, space: str) -> Path:
        return io.inside(self.output_dir, io.heatmap_name(participant, session, space, self.facts["method"]))

    def _relative(self, source: str) -> str:
        path = Path(source).resolve()
        if self.dataset_dir and self.dataset_dir in path.parents:
            return path.relative_to(self.dataset_dir).as_posix()
        return str(path)


def _json_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".nii.gz", ".json"))


def _atlas_facts(atlas: str | None) -> Any:
    from neuroxai.atlas.named import find, is_name

    if atlas in (None, "builtin"):
        return atlas
    named = is_name(atlas)
    file = find(atlas)[0] if named else Path(atlas)
    return {**({"name": atlas} if named else {}), "file": file.name, "sha256": io.sha256(file)}
