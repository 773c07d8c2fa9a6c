"""`Atlas`: an integer label image with a name for every label."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas.sides import hemispheres, key_of
from neuroxai.errors import InputError, SpaceError
from neuroxai.space import Space, Volume

# The adult brain in MNI152 coordinates, with 5 mm to spare (mm; ICBM152 2009a template).
MNI152_BOX = ((-78.0, 78.0), (-112.0, 80.0), (-77.0, 88.0))


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions of the brain: one integer per voxel and a name per integer. 0 is the background.

    Parameters
    ----------
    labels : array_like of int, shape ``space.shape``
        Copied as int32, read-only afterwards.
    names : mapping of int to str
        A name for every value that occurs. A name whose value has no voxel is kept, so that tables of several atlases
        in several spaces keep the same rows. Ordered by value.
    space : Space
        Where the voxels are.
    origin : str
        Where names and values come from, for example ``"FSL XML, value = index + 1"``.

    Raises
    ------
    InputError
        If labels are not whole numbers from 0 to 2**31 - 1, a value has no name, two values share a name, or 0 is
        named as a region.
    SpaceError
        If the array does not fit the space.
    """

    labels: NDArray[np.int32]
    names: Mapping[int, str]
    space: Space
    origin: str = field(default="")

    def __init__(self, labels: Any, names: Mapping[int, str], space: Space, origin: str = "") -> None:
        array = np.asarray(labels)
        if array.shape != space.shape:
            raise SpaceError(f"labels of shape {array.shape} do not fit a space of shape {space.shape}")
        if not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"labels are of type {array.dtype}, expected integers; round them first")
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > np.iinfo(np.int32).max:
            raise InputError(f"labels run from {low} to {high}, expected 0 (background) to {np.iinfo(np.int32).max}")
        array = array.astype(np.int32)
        array.setflags(write=False)
        table = {int(value): str(names[value]).strip() for value in sorted(names)}
        if 0 in table:
            raise InputError(f"value 0 is the background but is named {table[0]!r}; number the regions from 1")
        nameless = sorted({int(v) for v in np.unique(array)} - set(table) - {0})
        if nameless:
            raise InputError(f"label {nameless[0]} has no name ({len(nameless)} such labels); name every label")
        twice = sorted({name for name in table.values() if list(table.values()).count(name) > 1})
        if twice:
            values = [value for value, name in table.items() if name == twice[0]]
            raise InputError(f"labels {values} share the name {twice[0]!r}; give each label a name of its own")
        object.__setattr__(self, "labels", array)
        object.__setattr__(self, "names", MappingProxyType(table))
        object.__setattr__(self, "space", space)
        object.__setattr__(self, "origin", origin)

    def __reduce__(self) -> tuple[Any, ...]:
        # a read-only mapping cannot be pickled, and workers want atlases
        return Atlas, (self.labels, dict(self.names), self.space, self.origin)

    def __repr__(self) -> str:
        return f"Atlas({len(self.names)} regions, {self.space.describe()})"

    def counts(self) -> NDArray[np.int64]:
        """Voxels per region, in the order of `names`."""
        return np.bincount(self.positions().ravel(), minlength=len(self.names) + 1)[1:].astype(np.int64)

    def positions(self) -> NDArray[np.int64]:
        """For each voxel 0 for background, else 1 + the place of its region in `names`; shape ``space.shape``.

        Labels of any size become dense numbers, whichever labels are absent.
        """
        values = np.array([0, *self.names], dtype=np.int64)
        return np.searchsorted(values, self.labels).astype(np.int64)

    def centroids(self) -> NDArray[np.float64]:
        """Centres of mass in world mm, shape (regions, 3), in the order of `names`; NaN for a region without voxels."""
        inside = np.argwhere(self.labels > 0)
        region = self.positions()[tuple(inside.T)] - 1
        counts = self.counts()
        with np.errstate(invalid="ignore"):
            means = [np.bincount(region, inside[:, axis], len(counts)) / counts for axis in range(3)]
        return self.space.world(np.stack(means, axis=-1))

    def value(self, name: str) -> int:
        """Return the label of a region by its name; case does not matter.

        Raises
        ------
        InputError
            If no region has this name; the error offers similar ones.
        """
        key = name.strip().casefold()
        for value, known in self.names.items():
            if known.casefold() == key:
                return value
        from difflib import get_close_matches

        similar = get_close_matches(name, list(self.names.values()), n=5, cutoff=0.3)
        raise InputError(
            f"no region is called {name!r}; the atlas has {len(self.names)} regions"
            + (f", among them {', '.join(similar)}" if similar else "")
        )

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Voxels of one region."""
        return np.asarray(self.labels == self.value(name))

    def only(self, names: Iterable[str]) -> Atlas:
        """Keep the named regions alone, in the atlas's order; every other voxel becomes background.

        Raises
        ------
        InputError
            If a name is not in the atlas.
        """
        if isinstance(names, str):
            raise InputError(f"only() wants a list of names, got the single name {names!r}; write only([{names!r}])")
        kept = {self.value(name) for name in names}
        labels = np.where(np.isin(self.labels, sorted(kept)), self.labels, 0)
        return Atlas(labels, {v: n for v, n in self.names.items() if v in kept}, self.space, self.origin)

    def merged_hemispheres(self) -> Atlas:
        """Join left and right regions of the same name.

        Sides are told by name, see `neuroxai.atlas.sides.hemispheres`. A pair takes the lower of its two values and the
        name without the side; a region whose other side is not in the atlas, or is there twice, stays as it is.

        Raises
        ------
        InputError
            If there is no pair at all.
        """
        pairs = self._pairs()
        if not pairs:
            raise InputError(
                f"no two of the {len(self.names)} regions are left and right of each other by their names (such as "
                f"{', '.join(list(self.names.values())[:3])}), so hemispheres cannot be merged; name the sides "
                "(Left X, X_R, lh-X), or do not merge"
            )
        names = dict(self.names)
        lookup = np.arange(len(names) + 1)
        order = {value: place + 1 for place, value in enumerate(names)}
        for (low, high), rest in pairs.items():
            del names[high]
            taken = {n.casefold() for v, n in names.items() if v != low}
            names[low] = rest if rest.casefold() not in taken else f"{rest} (left and right)"
            lookup[order[high]] = order[low]
        values = np.array([0, *self.names], dtype=np.int32)
        return Atlas(values[lookup[self.positions()]], names, self.space, self.origin)

    def _pairs(self) -> dict[tuple[int, int], str]:
        """Values of left and right of a region, the lower first, and their name without the side."""
        split = hemispheres(self.names.values())
        found: dict[tuple[int, int], str] = {}
        # "Precentral_L 2001" and "Precentral_R 2002" differ in their codes too
        for ending in ("", r"[\W_]*\d{3,}$"):
            sides: dict[str, dict[str, list[int]]] = {}
            done = {value for pair in found for value in pair}
            for value, name in self.names.items():
                side, rest = split[name]
                if side and value not in done:
                    key = key_of(re.sub(ending, "", rest) or rest)
                    sides.setdefault(key, {}).setdefault(side, []).append(value)
            for pair in sides.values():
                if len(pair) == 2 and all(len(one) == 1 for one in pair.values()):
                    low, high = sorted(value for one in pair.values() for value in one)
                    rest = split[self.names[low]][1]
                    found[low, high] = re.sub(ending, "", rest) or rest
        return found

    def aggregated(self, regions: Mapping[str, Sequence[str]]) -> Atlas:
        """Join regions by a list such as `neuroxai.atlas.named.NEUROMORPHOMETRICS`.

        Parameters
        ----------
        regions : mapping of str to sequence of str
            For each region the names of its parts, without their hemisphere; case does not matter, ``*`` stands
            for anything. Left and right are joined. What no row lists becomes background.

        Returns
        -------
        Atlas
            Each region has the lowest value of its parts.

        Raises
        ------
        InputError
            If a part names no region of the atlas, or two rows claim the same region.
        """
        split = hemispheres(self.names.values())
        bare = {value: split[name][1].casefold() for value, name in self.names.items()}
        owner: dict[int, str] = {}
        names: dict[int, str] = {}
        lookup = np.zeros(len(bare) + 1, dtype=np.int32)
        place = {value: n for n, value in enumerate(bare, start=1)}
        for region, parts in regions.items():
            members = []
            for part in [parts] if isinstance(parts, str) else parts:
                found = [value for value, name in bare.items() if fnmatchcase(name, part.casefold())]
                if not found:
                    raise InputError(
                        f"{region!r} is made of {part!r}, but the atlas has no such region ({self.origin}); "
                        "is the list meant for another atlas?"
                    )
                members += found
            taken = sorted(value for value in members if owner.get(value, region) != region)
            if taken:
                raise InputError(
                    f"{self.names[taken[0]]!r} is part of both {owner[taken[0]]!r} and {region!r}; list it once"
                )
            owner.update(dict.fromkeys(members, region))
            names[min(members)] = region
            lookup[[place[value] for value in members]] = min(members)
        return Atlas(lookup[self.positions()], names, self.space, f"{self.origin}; joined to {len(names)} regions")

    def resampled_to(self, space: Space) -> Atlas:
        """Bring the atlas into another space: each voxel takes the region that fills most of it (`neuroxai.majority`).

        Warns
        -----
        UserWarning
            Naming the regions that have no voxel left.
        """
        if space.matches(self.space):
            return self
        result = Atlas(
            Volume(self.labels, self.space).resampled_to(space, order=0).data, self.names, space, self.origin
        )
        gone = (self.counts() > 0) & (result.counts() == 0)
        if gone.any():
            lost = [name for name, is_gone in zip(self.names.values(), gone, strict=True) if is_gone]
            warnings.warn(
                f"{len(lost)} of {len(self.names)} regions have no voxel left in the space of {space.describe()}: "
                f"{', '.join(lost)}; use a finer grid, or check that both spaces are the same world",
                stacklevel=2,
            )
        return result

    def share_outside_mni152(self) -> float:
        """Share of labelled voxels outside the box that holds an adult brain in MNI152 space, 0 to 1.

        Far from 0 for an atlas whose header has lost its origin; scores would then be taken beside the brain.
        """
        inside = np.argwhere(self.labels > 0)
        if len(inside) == 0:
            return 0.0
        low, high = np.array(MNI152_BOX).T
        world = self.space.world(inside)
        return float(1.0 - ((world >= low) & (world <= high)).all(axis=1).mean())
