"""A parcellation that needs no download: nilearn's packaged tissue maps divided by published coordinates.

It lies beside this module as labels of 2 mm, since to build it takes longer than to explain a scan;
``python -m neuroxai.atlas.builtin`` builds it anew.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas._anatomy import CEREBELLUM_ROWS, CHAINS, CORTEX, Chain
from neuroxai.atlas.atlas import Atlas
from neuroxai.errors import SpaceError
from neuroxai.io import read_volume, write_volume
from neuroxai.space import Space, Volume, mni152

ORIGIN = "built-in parcellation of the ICBM152 2009a tissue maps by the coordinates of Seitzman 2018 (approximate)"

# No voxel farther from every coordinate of its kind is named (mm).
_REACH = {"grey": 25.0, "white": 35.0}
#: What `build` gives; unsigned bytes.
STORED = Path(__file__).with_name("builtin_2mm.nii.gz")
_LOBES = ("frontal", "parietal", "temporal", "occipital", "deep")


def builtin(space: Space | None = None) -> Atlas:
    """Build the package's own atlas, anatomically named, in MNI152 space.

    Parameters
    ----------
    space : Space, optional
        The grid asked for, in MNI152 world coordinates; `neuroxai.space.mni152(2)` by default. On any other grid it is
        ``builtin().resampled_to(space)``, so that every way to ask gives the same regions. Kept for the next call.

    Returns
    -------
    Atlas
        Left and right are separate regions, named such as ``"Left hippocampus"``: 29 cortical regions, hippocampus,
        amygdala, parahippocampal region, thalamus, caudate, putamen, pallidum, accumbens, lateral ventricle,
        ventral diencephalon,
        cerebellar grey and white matter, five parts of the cerebral white matter; on the midline brain stem, corpus
        callosum, third and fourth ventricle. The numbering is the same on every grid.

    Raises
    ------
    SpaceError
        If the space holds no part of the brain in MNI152 coordinates.

    Warns
    -----
    UserWarning
        Naming the regions that have no voxel in the space.

    Notes
    -----
    *Boundaries are approximate.* Tissue comes from the ICBM152 2009a symmetric grey- and white-matter maps (Fonov 2009;
    packaged with nilearn). A cortical voxel belongs to the nearest of 239 published coordinates (Seitzman 2018), taken
    with their mirror images, and carries the gyrus that this coordinate lies in; neighbouring gyri are therefore
    divided half-way between coordinates and not along sulci. Deep structures are chains of ellipsoids around the
    coordinates, cut by tissue. White matter goes to the lobe of the nearest cortical coordinate. No region crosses the
    midline except those that lie on it; voxels centred on x = 0 belong to no side. For exact borders give a
    labelled atlas of your own (`neuroxai.atlas.load`).

    References
    ----------
    Fonov et al. 2009, NeuroImage 47 S102. Seitzman et al. 2018, NeuroImage 206:116290 (2020).
    """
    grid = mni152(2.0) if space is None else space
    atlas = _on(grid.shape, grid.affine.tobytes())
    absent = [name for name, count in zip(atlas.names.values(), atlas.counts(), strict=True) if count == 0]
    if len(absent) == len(atlas.names):
        raise SpaceError(
            f"no region of the built-in atlas lies in the space of {grid.describe()} with voxel 0 at "
            f"{np.round(grid.affine[:3, 3], 1).tolist()} mm; it is for scans in MNI152 space: register the scan first, "
            "or give an atlas in the scan's own space"
        )
    if absent:
        warnings.warn(
            f"{len(absent)} of {len(atlas.names)} regions have no voxel in the space of {grid.describe()}: "
            f"{', '.join(absent)}; use a finer grid, or check that the space is MNI152 and holds the whole brain",
            stacklevel=2,
        )
    return atlas


@lru_cache(maxsize=4)
def _on(shape: tuple[int, int, int], affine: bytes) -> Atlas:
    space, atlas = Space(shape, np.frombuffer(affine).reshape(4, 4)), _stored()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `builtin` reports absent regions at every call
        return atlas.resampled_to(space)


@lru_cache(maxsize=1)
def _stored() -> Atlas:
    labels = read_volume(STORED).data.astype(np.int32)
    return Atlas(labels, _numbering()[0], mni152(2.0), ORIGIN)


def build() -> Atlas:
    """Build the parcellation on the grid of 2 mm from nilearn's maps and coordinates."""
    space = mni152(2.0)
    grey, white = (np.clip(volume.resampled_to(space).data, 0.0, 1.0) for volume in _tissue())
    names, numbers = _numbering()
    labels = np.zeros(space.shape, dtype=np.int32)

    place = np.nonzero(_worth_a_look(space, grey + white))
    world = space.world(np.column_stack(place))
    side = np.sign(np.round(world[:, 0], 3)).astype(np.int8)
    points = np.column_stack([np.abs(world[:, 0]), world[:, 1:]])
    gm, wm = grey[place], white[place]

    result = np.zeros(len(points), dtype=np.int32)
    best = np.ones(len(points))
    for chain in CHAINS:
        distance = _chain_distance(points, chain)
        wins = (distance < best) & _made_of(chain.tissue, gm, wm)
        left, right = numbers[chain.name]
        if chain.paired:
            wins &= side != 0
        best[wins] = distance[wins]
        result[wins] = np.where(side[wins] < 0, left, right)

    seeds, seed_names, seed_lobes = _seeds()
    rest = (result == 0) & (gm + wm > 0.5) & (side != 0)
    nearest, gap = _nearest(points[rest], seeds)
    is_grey = gm[rest] >= wm[rest]
    pair = np.array([numbers[name] for name in seed_names])
    white_pair = np.array([numbers[lobe] for lobe in seed_lobes])
    one_side = (side[rest] > 0).astype(int)
    value = np.where(is_grey, pair[nearest, one_side], white_pair[nearest, one_side])
    result[rest] = np.where(gap <= np.where(is_grey, _REACH["grey"], _REACH["white"]), value, 0)

    labels[place] = result
    return Atlas(labels, names, space, ORIGIN)


def _numbering() -> tuple[dict[int, str], dict[str, tuple[int, int]]]:
    """Names by value, and for each name without side its (left, right) values: odd left, even right."""
    deep = [chain.name for chain in CHAINS if chain.paired]
    white = ["cerebellar white matter"] + [f"{lobe} white matter" for lobe in _LOBES]
    # "cerebellum" and "lateral ventricle" come more than once
    paired = dict.fromkeys([*deep, *CORTEX, "cerebellum", *white])
    names: dict[int, str] = {}
    numbers: dict[str, tuple[int, int]] = {}
    for name in paired:
        left = len(names) + 1
        names.update({left: f"Left {name}", left + 1: f"Right {name}"})
        numbers[name] = (left, left + 1)
    for name in (chain.name for chain in CHAINS if not chain.paired):
        value = len(names) + 1
        names[value] = name.capitalize()
        numbers[name] = (value, value)
    return names, numbers


def _seeds() -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Coordinates with x counted outwards, and for each the names of its grey and its white matter."""
    from nilearn import datasets

    rois = datasets.fetch_coords_seitzman_2018(ordered_regions=False).rois
    table = np.column_stack([np.asarray(rois[axis], dtype=np.float64) for axis in ("x", "y", "z")])
    table[:, 0] = np.abs(table[:, 0])
    rows: list[int] = []
    names: list[str] = []
    lobes: list[str] = []
    for name, (lobe, members) in CORTEX.items():
        rows += members
        names += [name] * len(members)
        lobes += [f"{lobe} white matter"] * len(members)
    rows += CEREBELLUM_ROWS
    names += ["cerebellum"] * len(CEREBELLUM_ROWS)
    lobes += ["cerebellar white matter"] * len(CEREBELLUM_ROWS)
    return table[rows], names, lobes


@lru_cache(maxsize=1)
def _tissue() -> tuple[Volume, Volume]:
    """Grey- and white-matter maps, 0 to 1, at the 1 mm they are packaged in."""
    from nilearn import datasets

    images = (datasets.load_mni152_gm_template(resolution=1), datasets.load_mni152_wm_template(resolution=1))
    grey, white = (Volume(np.asarray(i.get_fdata(dtype=np.float32)), Space(i.shape, i.affine)) for i in images)
    return grey, white


def _worth_a_look(space: Space, tissue: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels with brain tissue, and those among the ventricles."""
    nodes = np.concatenate([np.array(c.nodes) for c in CHAINS if c.tissue == "csf"])
    low, high = (nodes[:, :3] - nodes[:, 3:]).min(axis=0), (nodes[:, :3] + nodes[:, 3:]).max(axis=0)
    low[0] = -high[0]
    axes = [np.arange(n).reshape([-1 if i == axis else 1 for i in range(3)]) for axis, n in enumerate(space.shape)]
    inside = np.ones(space.shape, dtype=bool)
    for row, near, far in zip(space.affine[:3], low, high, strict=True):
        world = row[0] * axes[0] + row[1] * axes[1] + row[2] * axes[2] + row[3]
        inside &= (world >= near) & (world <= far)
    return np.asarray(inside | (tissue > 0.5))


def _made_of(tissue: str, grey: NDArray[np.float32], white: NDArray[np.float32]) -> NDArray[np.bool_]:
    if tissue == "grey":
        return np.asarray((grey > 0.3) & (grey + white > 0.5))
    if tissue == "white":
        return np.asarray(white > 0.5)
    if tissue == "csf":
        return np.asarray(grey + white <= 0.5)
    return np.asarray(grey + white > 0.5)


def _chain_distance(points: NDArray[np.float64], chain: Chain) -> NDArray[np.float64]:
    """Distance to a chain in units of its half axes: below 1 inside. Points far away get infinity."""
    nodes = np.array(chain.nodes, dtype=np.float64)
    steps = [nodes[:1]] + [a + (b - a) * np.linspace(0, 1, 6)[1:, None] for a, b in pairwise(nodes)]
    ellipsoids = np.concatenate(steps)
    low = (ellipsoids[:, :3] - ellipsoids[:, 3:]).min(axis=0)
    high = (ellipsoids[:, :3] + ellipsoids[:, 3:]).max(axis=0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    squared = np.full(len(near), np.inf)
    for x in ellipsoids:
        np.minimum(squared, (((points[near] - x[:3]) / x[3:]) ** 2).sum(axis=1), out=squared)
    result = np.full(len(points), np.inf)
    result[near] = np.sqrt(squared)
    return result


def _nearest(points: NDArray[np.float64], seeds: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    from scipy.spatial import cKDTree

    distance, index = cKDTree(seeds).query(points)
    return np.asarray(index, dtype=np.intp), np.asarray(distance, dtype=np.float64)


if __name__ == "__main__":
    write_volume(STORED, Volume(build().labels, mni152(2.0)), np.uint8)
