"""Training guided by relevance: a term of the loss for relevance outside a mask, and where the masks come from."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.engines.utils import IterationEvents
from monai.transforms import MapTransform
from torch import Tensor, nn

from neuroxai.atlas.builtin import builtin
from neuroxai.atlas.named import get
from neuroxai.cohort import load_datalist
from neuroxai.cohort.tables import People
from neuroxai.components.distributed import mean_over_processes
from neuroxai.errors import InputError
from neuroxai.io import inside, read_labels
from neuroxai.masks import mask_in_space
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space

_log = logging.getLogger("neuroxai")

RULES = ("epsilon", "z_plus")
BRAIN = "brain"
MASK = "relevance_mask"


class RelevanceGuidance:
    """Add to a trainer's loss the relevance that lies outside a mask (after Tinauer 2022).

    ``loss + weight * mean over scans of (sum of |R| outside)``, R the relevance of a scan's voxels by
    `neuroxai.lrp.LRP` for the labelled class's logit less the mean of the others' (for the logit, where there is one):
    how many logits the voxels outside the mask contribute. Tinauer's term is minus the sum of R inside, by z+ from the
    probabilities, in networks that conserve relevance: the share outside, less 1. Here it is no share, for a network
    can lower that by evidence inside the mask that is the same for all scans; the difference of logits leaves such
    evidence out. And it is of absolute values by the epsilon rule, for z+ does not see a mark that speaks against the
    other class. The page on trust has the comparison.

    What is explained is the network as it predicts: running statistics of batch normalisation, no dropout. Attach it to
    the trainer in front of `neuroxai.components.CheckpointHandler`, which writes each epoch's mean to ``history.tsv``.

    Parameters
    ----------
    network : torch.nn.Module
        The network in training, without what wraps it.
    weight : float
        Of the term, 0 or more.
    rule : {"epsilon", "z_plus"}
        LRP rule of all layers.
    every : int
        Every so many scans of a batch are guided, by turns: each costs as much as two or three plain ones.

    References
    ----------
    Tinauer et al. (2022). Interpretable brain disease classification and relevance-guided deep learning. Scientific
    Reports 12, 20254.
    """

    def __init__(self, network: nn.Module, weight: float, rule: str = "epsilon", every: int = 2) -> None:
        self.weight = weight
        self.every = every
        from neuroxai.lrp import LRP  # with captum, which only a guided training needs

        self.lrp = LRP(network, rule)
        self._found: list[float] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._guide)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._tell)

    def outside(self, scans: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
        """Return the sum of absolute relevance outside the masks, with its graph.

        Parameters
        ----------
        scans : torch.Tensor
            (batch, channels, x, y, z).
        labels : torch.Tensor
            (batch,).
        masks : torch.Tensor
            (batch, 1, x, y, z), 0 outside.

        Returns
        -------
        torch.Tensor
            (batch,), in logits.
        """

        def start(logits: Tensor) -> Tensor:
            count = logits.shape[1]
            if count == 1:
                return logits
            labelled = nn.functional.one_hot(labels.long(), count)
            return logits * (labelled * count - 1).to(logits) / (count - 1)

        relevance: Tensor = self.lrp.attribute(scans, start=start, create_graph=True)
        return (relevance.abs() * (masks == 0)).flatten(1).sum(1)

    def _guide(self, engine: Engine) -> None:
        first, output, batch = engine.state.iteration % self.every, engine.state.output, engine.state.batch
        scans, labels = (output[key][first :: self.every] for key in ("image", "label"))
        if len(scans) == 0:
            return
        masks = batch[MASK][first :: self.every].to(scans.device)
        term = self.outside(scans, labels, masks).mean()
        self._found.append(float(term.detach()))
        output["loss"] = output["loss"] + self.weight * term

    def _tell(self, engine: Engine) -> None:
        mean = mean_over_processes(sum(self._found), len(self._found))
        self._found = []
        engine.state.metrics["relevance_outside"] = mean
        if mean == 0:
            _log.warning(
                "no relevance lies outside --relevance_mask, so that guidance changes nothing; voxels of 0 get none"
            )


class RelevanceMaskd(MapTransform):
    """Put the mask within which relevance is wanted beside each scan, shape (1, x, y, z), bool.

    Goes first among the random transforms, whose keys name the mask too: it moves as its scan does.

    Parameters
    ----------
    keys : str
        Where the mask is put.
    mask : str or sequence of str
        "brain": that of the MNI152 template and a voxel more, since brains fill the voxels at its border in part; a
        mask's file, in the network's grid or in the template's space; a column of the datalist or of participants.tsv
        with a mask's file for each training scan, relative to the cohort's folder; or regions of an atlas by name, with
        or without their side: ``hippocampus`` of the built-in atlas, ``ATLAS:REGION`` of another.
    space : Space
        The network's grid.
    datalist, dataset_dir : str
        The file, and the cohort's folder.

    Raises
    ------
    InputError
        If the mask is none of these, is empty, or a scan has none.
    """

    def __init__(
        self, keys: KeysCollection, mask: str | Sequence[str], space: Space, datalist: str, dataset_dir: str
    ) -> None:
        super().__init__(keys)
        self.space = space
        self._read: dict[Path, Tensor] = {}
        self.of_scan = {} if mask == BRAIN else _masks_of_scans(str(mask), datalist, dataset_dir)
        self.common = None if self.of_scan else torch.from_numpy(_common_mask(mask, space))[None]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the mask."""
        found = self.common if self.common is not None else self._of(Path(data["source"]).resolve())
        return {**data, **dict.fromkeys(self.keys, found)}

    def _of(self, scan: Path) -> Tensor:
        if scan not in self._read:
            mask = mask_in_space(read_labels(self.of_scan[scan]), self.space, keep_small=True)
            self._read[scan] = torch.from_numpy(_filled(mask, str(self.of_scan[scan])))[None]
        return self._read[scan]


def _masks_of_scans(column: str, datalist: str, dataset_dir: str) -> dict[Path, Path]:
    """Return each training scan's mask by the scan's path; nothing where no table has such a column."""
    items, table = load_datalist(datalist, "training", dataset_dir), Path(dataset_dir) / "participants.tsv"
    rows = items
    if table.is_file() and not any(column in item for item in items):
        people = People(table)
        found = [people.row_of(item["participant_id"], item.get("session_id") or None) for item in items]
        rows = [row[1] if isinstance(row, tuple) else {} for row in found]
    if not any(column in row for row in rows):
        return {}
    masks = {}
    for scan, name in ((item["image"], row.get(column)) for item, row in zip(items, rows, strict=True)):
        path = inside(Path(dataset_dir), str(name)) if name not in (None, "", "n/a") else None
        if path is None or not path.is_file():
            raise InputError(
                f"--relevance_mask {column}: {scan} has {name!r} there, expected the file of its mask, relative to "
                f"{dataset_dir}; name one for each training scan"
            )
        masks[Path(scan).resolve()] = path
    return masks


def _common_mask(asked: str | Sequence[str], space: Space) -> Any:
    """Return one mask for all scans, (x, y, z)."""
    from scipy import ndimage

    if asked == BRAIN:
        brain = mask_in_space(load_template(spacing=space.spacing[0]).brain, space)
        return _filled(ndimage.binary_dilation(brain, np.ones((3, 3, 3))), BRAIN)
    if isinstance(asked, str) and Path(asked).is_file():
        return _filled(mask_in_space(read_labels(asked), space), asked)
    regions = [_region(name, space) for name in ([asked] if isinstance(asked, str) else asked)]
    return _filled(sum(regions[1:], regions[0]), str(asked))


def _region(asked: str, space: Space) -> Any:
    """Return one region's voxels, of both sides where its name tells none."""
    name, _, region = asked.rpartition(":")
    atlas = builtin(space) if name in ("", "builtin") else get(name).resampled_to(space)
    sided = region.strip().casefold() in (known.casefold() for known in atlas.names.values())
    try:
        return (atlas if sided else atlas.merged_hemispheres()).mask(region)
    except InputError as error:
        raise InputError(
            f"--relevance_mask {asked}: no such file, no column of the datalist or of participants.tsv, and {error}; "
            f"give one of these, or {BRAIN}"
        ) from None


def _filled(mask: Any, name: str) -> Any:
    if not mask.any():
        raise InputError(f"--relevance_mask {name}: holds no voxel of the network's grid; is it in the scans' space?")
    return mask
