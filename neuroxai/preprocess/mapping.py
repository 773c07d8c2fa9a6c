"""The map between a prepared scan and the native one: points, images and heatmaps, there and back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai import io
from neuroxai.deformation import Displacement
from neuroxai.derivatives.prepared import native_record, transform_name
from neuroxai.errors import InputError
from neuroxai.io import read_affine, read_warp, write_affine, write_warp
from neuroxai.preprocess.warping import resampled_through
from neuroxai.space import Space, Volume


@dataclass(frozen=True, eq=False)
class Mapping:
    """Where a point of the prepared world lies in the native scan: y = affine(x + u(x)).

    The direction is that of resampling: to fill the prepared grid one asks for each of its points where it lies in the
    native scan. ANTs names the same chain ``[warp, affine]``, with the prepared image fixed and the native one moving.

    Parameters
    ----------
    affine : array_like, shape (4, 4)
        Prepared world to native world, mm, RAS+. Copied, float64, read-only afterwards.
    warp : Displacement, optional
        u, in the prepared world.
    inverse_warp : Displacement, optional
        v, in the prepared world too: x = z + v(z) undoes z = x + u(x). There if and only if `warp` is.

    Raises
    ------
    SpaceError
        If the affine map is not finite and invertible.
    InputError
        If one warp comes without the other.
    """

    affine: NDArray[np.float64]
    warp: Displacement | None = None
    inverse_warp: Displacement | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", Space((1, 1, 1), self.affine).affine)
        if (self.warp is None) != (self.inverse_warp is None):
            there, absent = ("a warp", "its inverse") if self.inverse_warp is None else ("an inverse warp", "the warp")
            raise InputError(f"a mapping got {there} without {absent}; give both, or neither for an affine map")

    def to_native(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take prepared world points to the native world, both of shape (3, n)."""
        return _moved(self.affine, points if self.warp is None else self.warp(points))

    def to_prepared(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take native world points to the prepared world, both of shape (3, n)."""
        inner = _moved(np.linalg.inv(self.affine).astype(np.float64), points)
        return inner if self.inverse_warp is None else self.inverse_warp(inner)

    def carry(self, native: Volume, grid: Space, order: int = 1, antialias: bool = True) -> Volume:
        """Carry a native scan or its mask to a prepared grid, in one interpolation.

        Parameters
        ----------
        native : Volume
            In the native world.
        grid : Space
            In the prepared world.
        order, antialias
            As `Volume.resampled_to` has them: 0 for labels, 1 for linear, 3 for cubic splines.

        Returns
        -------
        Volume
            On `grid`; 0 outside the native field of view.
        """
        return _carried(Volume(native.data, self._in_prepared_world(native.space)), grid, self.warp, order, antialias)

    def carry_back(self, prepared: Volume, native: Space, order: int = 1, antialias: bool = True) -> Volume:
        """Carry a heatmap or mask to the native scan's grid, in one interpolation.

        Parameters
        ----------
        prepared : Volume
            In the prepared world.
        native : Space
            The scan's grid.
        order, antialias
            As `Volume.resampled_to` has them: 0 for labels, 1 for linear, 3 for cubic splines.

        Returns
        -------
        Volume
            On `native`; 0 outside the prepared field of view.
        """
        grid = self._in_prepared_world(native)
        return Volume(_carried(prepared, grid, self.inverse_warp, order, antialias).data, native)

    def compose(self, rigid: Any) -> Mapping:
        """Append an affine map from the native world to another scan's, for example from a T1w's to its FLAIR's.

        Parameters
        ----------
        rigid : array_like, shape (4, 4)
            World of the scan that this mapping leads to, to the world of the other scan, mm, RAS+.

        Returns
        -------
        Mapping
            Prepared world to the other scan's world, with the same warps.
        """
        return Mapping(Space((1, 1, 1), rigid).affine @ self.affine, self.warp, self.inverse_warp)

    def save(
        self,
        folder: str | os.PathLike[str],
        participant: str,
        session: str | None = None,
        source: str = "T1w",
        target: str = "MNI152",
    ) -> list[Path]:
        """Write the mapping as BIDS derivatives that ITK and ANTs read (`neuroxai.derivatives.prepared`).

        Parameters
        ----------
        folder : path_like
            The derivative's folder.
        participant, session : str
            Identifiers as in participants.tsv.
        source, target : str
            Labels of the native and the prepared image.

        Returns
        -------
        list of Path
            The affine map and, where there are any, the warp and its inverse. Warps of an earlier run are replaced
            or deleted.
        """
        names = _names(participant, session, source, target)
        affine, *warps = (Path(folder) / name for name in names)
        # without the affine map nothing loads: whatever ends the process, no map pairs files of two runs
        affine.unlink(missing_ok=True)
        written = []
        for file, warp in zip(warps, (self.warp, self.inverse_warp), strict=True):
            if warp is None:
                file.unlink(missing_ok=True)
            else:
                written.append(write_warp(file, warp))
        return [write_affine(affine, self.affine), *written]

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        participant: str,
        session: str | None = None,
        source: str = "T1w",
        target: str = "MNI152",
    ) -> Mapping:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the affine map is absent, a warp stands without the other, or a file is damaged.
        """
        affine, *warps = (Path(folder) / name for name in _names(participant, session, source, target))
        there = [file.is_file() for file in warps]
        if any(there) and not all(there):
            raise InputError(
                f"{warps[there.index(False)]}: no such file beside {warps[there.index(True)].name}; "
                "prepare the scan again"
            )
        return cls(read_affine(affine), *(read_warp(file) for file in warps if all(there)))

    def _in_prepared_world(self, native: Space) -> Space:
        """Put the native grid where the affine map comes from."""
        return Space(native.shape, np.linalg.solve(self.affine, native.affine))


def _carried(source: Volume, target: Space, warp: Displacement | None, order: int, antialias: bool) -> Volume:
    if warp is None:
        return source.resampled_to(target, order, antialias)
    return resampled_through(source, target, warp, order, antialias)


def _moved(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix[:3, :3] @ points + matrix[:3, 3:])


def _names(participant: str, session: str | None, source: str, target: str) -> list[str]:
    return [
        transform_name(participant, session, source, target, "affine"),
        transform_name(participant, session, source, target, "warp"),
        transform_name(participant, session, target, source, "warp"),
    ]


@dataclass(frozen=True, eq=False)
class Native:
    """The scan that a prepared one was made from.

    Parameters
    ----------
    space : Space
        Its grid.
    mapping : Mapping
        Between prepared and native world.
    label : str
        BIDS label of its space, ``"T1w"`` or ``"FLAIR"``.
    """

    space: Space
    mapping: Mapping
    label: str

    def __call__(self, prepared: Volume) -> Volume:
        """Bring a map on the prepared scan's space, on any grid, to the native grid (linear)."""
        return self.mapping.carry_back(prepared, self.space)


def native_of(scan: str | os.PathLike[str]) -> Native | None:
    """Find the native scan of a file that `neuroxai prepare` has written; None for any other scan.

    Raises
    ------
    InputError
        If the record beside the scan cannot be used, or a transform is absent.
    """
    path = Path(scan)
    record = native_record(path)
    if record is None:
        return None
    folder = io.named_path(path).parents[3 if record.session else 2]
    mapping = Mapping.load(folder, record.participant, record.session, record.modality, record.space)
    return Native(Space.from_dict(record.native_space), mapping, record.modality)
