"""Atlases by name: the user's own copies, where FSL, SPM and nilearn keep them, and regions joined as in papers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neuroxai.atlas.atlas import Atlas
from neuroxai.atlas.builtin import builtin
from neuroxai.atlas.readers import load
from neuroxai.errors import InputError, one_of

# Names stand without their hemisphere, which is always merged; ``*`` stands for any ending. Labels that no row lists
# become background.

# 68 regions of all 136 labels (Boehle 2019): hemispheres merged; cerebellar cortex joined with its white matter, the
# inferior horns with the lateral ventricles, the three parts of the vermis with each other.
NEUROMORPHOMETRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "third ventricle": ("3rd Ventricle",),
        "fourth ventricle": ("4th Ventricle",),
        "lateral ventricle": ("Lateral Ventricle", "Inf Lat Vent"),
        "CSF": ("CSF",),
        "vessel": ("vessel",),
        "accumbens": ("Accumbens Area",),
        "amygdala": ("Amygdala",),
        "basal forebrain": ("Basal Forebrain",),
        "brain stem": ("Brain Stem",),
        "caudate": ("Caudate",),
        "cerebellum": ("Cerebellum Exterior", "Cerebellum White Matter"),
        "cerebellar vermis": ("Cerebellar Vermal Lobules*",),
        "cerebral white matter": ("Cerebral White Matter",),
        "hippocampus": ("Hippocampus",),
        "optic chiasm": ("Optic Chiasm",),
        "pallidum": ("Pallidum",),
        "putamen": ("Putamen",),
        "thalamus": ("Thalamus*",),
        "ventral diencephalon": ("Ventral DC",),
        "angular gyrus": ("AnG *",),
        "anterior cingulate gyrus": ("ACgG *",),
        "anterior insula": ("AIns *",),
        "anterior orbital gyrus": ("AOrG *",),
        "calcarine cortex": ("Calc *",),
        "central operculum": ("CO *",),
        "cuneus": ("Cun *",),
        "entorhinal area": ("Ent *",),
        "frontal operculum": ("FO *",),
        "frontal pole": ("FRP *",),
        "fusiform gyrus": ("FuG *",),
        "gyrus rectus": ("GRe *",),
        "inferior frontal gyrus, opercular part": ("OpIFG *",),
        "inferior frontal gyrus, orbital part": ("OrIFG *",),
        "inferior frontal gyrus, triangular part": ("TrIFG *",),
        "inferior occipital gyrus": ("IOG *",),
        "inferior temporal gyrus": ("ITG *",),
        "lateral orbital gyrus": ("LOrG *",),
        "lingual gyrus": ("LiG *",),
        "medial frontal cortex": ("MFC *",),
        "medial orbital gyrus": ("MOrG *",),
        "middle cingulate gyrus": ("MCgG *",),
        "middle frontal gyrus": ("MFG *",),
        "middle occipital gyrus": ("MOG *",),
        "middle temporal gyrus": ("MTG *",),
        "occipital fusiform gyrus": ("OFuG *",),
        "occipital pole": ("OCP *",),
        "parahippocampal gyrus": ("PHG *",),
        "parietal operculum": ("PO *",),
        "planum polare": ("PP *",),
        "planum temporale": ("PT *",),
        "postcentral gyrus": ("PoG *",),
        "postcentral gyrus, medial segment": ("MPoG *",),
        "posterior cingulate gyrus": ("PCgG *",),
        "posterior insula": ("PIns *",),
        "posterior orbital gyrus": ("POrG *",),
        "precentral gyrus": ("PrG *",),
        "precentral gyrus, medial segment": ("MPrG *",),
        "precuneus": ("PCu *",),
        "subcallosal area": ("SCA *",),
        "superior frontal gyrus": ("SFG *",),
        "superior frontal gyrus, medial segment": ("MSFG *",),
        "superior occipital gyrus": ("SOG *",),
        "superior parietal lobule": ("SPL *",),
        "superior temporal gyrus": ("STG *",),
        "supplementary motor cortex": ("SMC *",),
        "supramarginal gyrus": ("SMG *",),
        "temporal pole": ("TMP *",),
        "transverse temporal gyrus": ("TTG *",),
    }
)

# 22 regions of the 48 labels of the JHU ICBM-DTI-81 atlas (Eitel 2019): hemispheres merged; the corpus callosum, the
# cingulum and the pontine crossing with the middle peduncle joined. The fornix is its column and body; the crura with
# the stria terminalis are left out.
JHU: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "middle cerebellar peduncle": ("Middle cerebellar peduncle", "Pontine crossing tract*"),
        "corpus callosum": (
            "Genu of corpus callosum",
            "Body of corpus callosum",
            "Splenium of corpus callosum",
        ),
        "fornix": ("Fornix (column*",),
        "corticospinal tract": ("Corticospinal tract",),
        "medial lemniscus": ("Medial lemniscus",),
        "inferior cerebellar peduncle": ("Inferior cerebellar peduncle",),
        "superior cerebellar peduncle": ("Superior cerebellar peduncle",),
        "cerebral peduncle": ("Cerebral peduncle",),
        "internal capsule, anterior limb": ("Anterior limb of internal capsule",),
        "internal capsule, posterior limb": ("Posterior limb of internal capsule",),
        "internal capsule, retrolenticular part": ("Retrolenticular part of internal capsule",),
        "anterior corona radiata": ("Anterior corona radiata",),
        "superior corona radiata": ("Superior corona radiata",),
        "posterior corona radiata": ("Posterior corona radiata",),
        "posterior thalamic radiation": ("Posterior thalamic radiation*",),
        "sagittal stratum": ("Sagittal stratum*",),
        "external capsule": ("External capsule",),
        "cingulum": ("Cingulum*",),
        "superior longitudinal fasciculus": ("Superior longitudinal fasciculus",),
        "superior fronto-occipital fasciculus": ("Superior fronto-occipital fasciculus*",),
        "uncinate fasciculus": ("Uncinate fasciculus",),
        "tapetum": ("Tapetum",),
    }
)


VARIABLES = ("NEUROXAI_ATLASES", "SPM_HOME", "FSLDIR")
# Where, inside an installation, atlases lie; "" for a folder of plain copies.
_INSIDE = ("", "tpm", "data/atlases", "fsl/data/atlases", "aal_SPM12", "destrieux_2009")


@dataclass(frozen=True)
class NamedAtlas:
    """Where copies of an atlas lie, and how to get one.

    Parameters
    ----------
    images : tuple of str
        File names without ending, the preferred first, below one of the folders.
    labels : str
        The label table.
    source : str
        Where a copy comes from, for messages.
    fetcher : str
        Function of ``nilearn.datasets`` that downloads it; "" for none.
    options : mapping
        Its arguments.
    regions : mapping, optional
        Regions to join, see `Atlas.aggregated`.
    """

    images: tuple[str, ...]
    labels: str
    source: str
    fetcher: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    regions: Mapping[str, Sequence[str]] | None = None


def _fsl(folder: str, image: str, labels: str, **more: Any) -> NamedAtlas:
    images = tuple(f"{folder}/{image}-{size}mm" for size in (1, 2))
    return NamedAtlas(images, labels, "comes with FSL (set FSLDIR)", **more)


def _spm(**more: Any) -> NamedAtlas:
    file = "labels_Neuromorphometrics"
    return NamedAtlas((file,), f"{file}.xml", "comes with SPM12 (set SPM_HOME to the folder that holds tpm)", **more)


def _harvard_oxford(part: str, table: str) -> NamedAtlas:
    image = f"{part}-maxprob-thr25"
    options = {"atlas_name": f"{image}-1mm"}
    return _fsl("HarvardOxford", f"HarvardOxford-{image}", table, fetcher="fetch_atlas_harvard_oxford", options=options)


NAMED: Mapping[str, NamedAtlas] = {
    "neuromorphometrics": _spm(),
    "neuromorphometrics-68": _spm(regions=NEUROMORPHOMETRICS),
    "jhu": _fsl("JHU", "JHU-ICBM-labels", "JHU-labels.xml"),
    "jhu-22": _fsl("JHU", "JHU-ICBM-labels", "JHU-labels.xml", regions=JHU),
    "jhu-tracts": _fsl("JHU", "JHU-ICBM-tracts-maxprob-thr25", "JHU-tracts.xml"),
    "harvard-oxford-cortical": _harvard_oxford("cort", "HarvardOxford-Cortical.xml"),
    "harvard-oxford-subcortical": _harvard_oxford("sub", "HarvardOxford-Subcortical.xml"),
    "mni-lobes": _fsl("MNI", "MNI-maxprob-thr25", "MNI.xml"),
    "aal": NamedAtlas(
        ("aal/atlas/AAL",), "aal/atlas/AAL.xml", "is fetched by nilearn", "fetch_atlas_aal", {"version": "SPM12"}
    ),
    "destrieux": NamedAtlas(
        ("destrieux2009_rois_lateralized",),
        "destrieux2009_rois_labels_lateralized.csv",
        "is fetched by nilearn",
        "fetch_atlas_destrieux_2009",
    ),
}
NAMES = ("builtin", *NAMED)


def find(name: str, folders: Iterable[str | os.PathLike[str]] = (), download: bool = False) -> tuple[Path, Path]:
    """Find the user's copy of a named atlas.

    Parameters
    ----------
    name : str
        One of `NAMES` but "builtin", which has no file.
    folders : iterable of path_like
        Looked into first: an FSL or SPM folder, or one that holds the files themselves. Then come those of the
        environment variables ``NEUROXAI_ATLASES``, ``SPM_HOME`` and ``FSLDIR``, and nilearn's data folders.
    download : bool
        Let nilearn fetch a missing copy into its data folder. Without it the network is never used.

    Returns
    -------
    tuple of Path
        The label image and its table.

    Raises
    ------
    InputError
        If the name is unknown, or no copy is found: the error says where it looked and how to get one.
    """
    if name not in NAMED:
        raise one_of("atlas", name, NAMES, "Or give the path of a label image.")
    atlas = NAMED[name]
    places = [*map(Path, folders), *_environment(), *_nilearn_folders()]
    found = _look(atlas, places)
    if found is None and download and atlas.fetcher:
        import nilearn.datasets

        getattr(nilearn.datasets, atlas.fetcher)(**atlas.options)
        found = _look(atlas, places)
    if found is not None:
        return found
    image = Path(atlas.images[0]).name
    fetch = (
        f"; or let nilearn fetch it: neuroxai atlas show {name} --download, in Python download=True"
        if atlas.fetcher
        else ""
    )
    raise InputError(
        f"no copy of the atlas {name!r} ({image}.nii.gz with {Path(atlas.labels).name}) in "
        f"{', '.join(map(str, places))}; unset are {', '.join(v for v in VARIABLES if not os.environ.get(v)) or 'none'}"
        f". It {atlas.source}; or put both files into a folder named by NEUROXAI_ATLASES{fetch}"
    )


def get(
    atlas: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    folders: Iterable[str | os.PathLike[str]] = (),
    download: bool = False,
) -> Atlas:
    """Read an atlas by its name or from its file.

    Parameters
    ----------
    atlas : str or path_like
        One of `NAMES`, or a label image.
    labels : path_like, optional
        The label image's names, see `load`.
    folders, download
        See `find`.

    Raises
    ------
    InputError
        If it is neither a known name nor a file, or a table is given beside a name.
    """
    name = os.fspath(atlas)
    if not is_name(name):
        return load(name, labels)
    if labels is not None:
        raise InputError(f"the atlas {name!r} has its own names; give a label table only with the path of an image")
    if name == "builtin":
        return builtin()
    found = load(*find(name, folders, download))
    regions = NAMED[name].regions
    return found if regions is None else found.aggregated(regions)


def is_name(atlas: str) -> bool:
    """Tell a name from a path: a path has a folder or an ending, or leads to something."""
    return atlas in NAMES or not (os.sep in atlas or "." in atlas or Path(atlas).exists())


def _environment() -> list[Path]:
    return [Path(p) for v in VARIABLES for p in os.environ.get(v, "").split(os.pathsep) if p]


def _nilearn_folders() -> list[Path]:
    # nilearn.datasets.get_data_dirs() says the same; asked here without importing nilearn
    shared = [p for v in ("NILEARN_SHARED_DATA", "NILEARN_DATA") for p in os.environ.get(v, "").split(os.pathsep) if p]
    return [*map(Path, shared), Path.home() / "nilearn_data"]


def _look(atlas: NamedAtlas, places: Sequence[Path]) -> tuple[Path, Path] | None:
    for place in places:
        for folder in (place / inside for inside in _INSIDE):
            for stem in atlas.images:
                # in an installation the image has a folder of its own; plain copies lie side by side
                for image in (folder / f"{s}{end}" for s in (stem, Path(stem).name) for end in (".nii.gz", ".nii")):
                    tables = [folder / atlas.labels, folder / Path(atlas.labels).name, image.parent / atlas.labels]
                    table = next((t for t in tables if t.is_file()), None)
                    if image.is_file() and table is not None:
                        return image, table
    return None
