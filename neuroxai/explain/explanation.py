"""What is said of one scan, and the files that it comes to."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai import io
from neuroxai.derivatives.heatmaps import Run
from neuroxai.derivatives.predictions import Prediction
from neuroxai.derivatives.records import to_json
from neuroxai.derivatives.scales import Scale
from neuroxai.errors import InputError
from neuroxai.explain.attribute import Attributed
from neuroxai.explain.bundle import Model
from neuroxai.explain.display import View, leading_of, summary_html, view_of
from neuroxai.explain.options import ExplainOptions
from neuroxai.explain.predict import single_item
from neuroxai.explain.writer import FolderWriter
from neuroxai.pictures.anatomy import unprepared
from neuroxai.space import Space, Volume

_OWN = ("layer", "neuron", "conditions", "native", "maps", "score_space")


class GivenScan:
    """A scan as a file; one that is an image is written to a folder that goes when it was explained."""

    def __init__(self, scan: Any) -> None:
        self.image: Volume | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if isinstance(scan, str | os.PathLike):
            self.path = Path(scan)
            return
        if not hasattr(scan, "affine"):
            raise InputError(f"the scan is {type(scan).__name__}, expected a path, a nibabel image or a MetaTensor")
        values = scan.as_tensor().cpu().numpy() if hasattr(scan, "as_tensor") else np.asanyarray(scan.dataobj)
        values = values[0] if values.ndim == 4 and len(values) == 1 else values
        self.image = Volume(values.astype(np.float32), Space(values.shape, np.asarray(scan.affine, dtype=np.float64)))
        known = scan.get_filename() if hasattr(scan, "get_filename") else scan.meta.get("filename_or_obj")
        name = Path(str(known)).name.removesuffix(".gz").removesuffix(".nii") if known else "scan"
        self._folder = tempfile.TemporaryDirectory(prefix="neuroxai-")
        self.path = io.write_volume(Path(self._folder.name, f"{name}.nii.gz"), self.image)

    def __enter__(self) -> GivenScan:
        return self

    def __exit__(self, *error: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


@dataclass(frozen=True, eq=False)
class Making:
    """What it takes to write an explanation's files."""

    model: Model
    options: ExplainOptions
    space: Space
    scan: Space
    found: Attributed
    given: GivenScan

    def save(self, folder: Path, row: Prediction) -> None:
        """Write the files, unless they stand there already."""
        path = self.given.path
        if self.given.image is not None:
            path = io.write_volume(folder / "scan" / path.name, self.given.image)
        item = single_item(path)
        model = self.model
        writer = FolderWriter(
            str(folder),
            self.options,
            self.space,
            model.classes,
            str(model.checkpoint),
            model.name,
            str(Path(item["image"]).parent),
        )
        if writer.pending([item]):
            writer.write(self.found, [row], [self.scan], [item["image"]])
        writer.finish()


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What is said of one scan.

    Parameters
    ----------
    prediction : Prediction
        Row of ``predictions.tsv``: predicted class, one probability per class, the target's logit as ``score``, the
        fit.
    target : str
        The class that the heatmap is about.
    on_network : Volume
        The heatmap on the network's grid, where sums are taken.
    on_scan : Volume
        On the scan's own grid.
    on_scanner : Volume or None
        Of a scan that `neuroxai prepare` made: on the grid that the scanner gave it.
    regions : pandas.DataFrame or None
        Region scores, None without atlas.
    run : Run
        Method, options, checkpoint's checksum, versions.
    scale : Scale or None
        That which the bundle keeps for such heatmaps.
    """

    prediction: Prediction
    target: str
    on_network: Volume
    on_scan: Volume
    on_scanner: Volume | None
    regions: Any
    run: Run
    scale: Scale | None = None
    _making: Making | None = field(default=None, repr=False)

    @property
    def probabilities(self) -> dict[str, float]:
        """Class to probability."""
        return dict(self.prediction.probabilities)

    @property
    def heatmap(self) -> Any:
        """The heatmap on the network's grid, as a nibabel image."""
        return io.image_of(self.on_network)

    @property
    def native_heatmap(self) -> Any:
        """The heatmap on the scan's own grid, as a nibabel image."""
        return io.image_of(self.on_scan)

    @property
    def provenance(self) -> dict[str, Any]:
        """What made it, ready for JSON."""
        return {key: value for key, value in to_json(self.run).items() if key not in _OWN}

    @property
    def title(self) -> str:
        """Participant and session."""
        return " ".join(filter(None, self.prediction.who))

    def view(self) -> View:
        """Return the interactive viewer: over the scan's own anatomy, for a notebook or to be saved as a page."""
        source = None if self._making is None or self._making.given.image is not None else self._making.given.path
        facts = {"Method": self.run.method, "Bundle": self.run.bundle, "Class explained": self.target}
        return view_of(
            self.title,
            self.target,
            self.on_network,
            self._scan(),
            unprepared(source, self.on_network.space, lambda modality: self.on_scanner),
            self.run.atlas,
            leading_of(self.regions),
            facts,
        )

    def _scan(self) -> Volume | None:
        """Return the scan that was explained; None where its file is there no more."""
        if self._making is None:
            return None
        given = self._making.given
        try:
            return given.image if given.image is not None else io.read_volume(given.path)
        except InputError:
            return None

    def _repr_html_(self) -> str:
        return summary_html(self.title, self.probabilities, self.target, self.regions, self.on_network, self._scan())

    def __repr__(self) -> str:
        chances = ", ".join(f"{name} {value:.1%}" for name, value in self.probabilities.items())
        where = f", most in {first}" if (first := leading_of(self.regions)) else ""
        return f"Explanation({self.title}: {chances}; {self.run.method} for {self.target}{where})"

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write what ``neuroxai explain`` writes of this scan, and return the folder.

        A scan that was given as an image, and not as a file, is written to ``FOLDER/scan`` too.

        Raises
        ------
        InputError
            If the folder holds results of another scan of this name.
        """
        if self._making is None:
            raise InputError("this explanation was not made by an open bundle, so that no files can be written of it")
        self._making.save(Path(folder), self.prediction)
        return Path(folder)
