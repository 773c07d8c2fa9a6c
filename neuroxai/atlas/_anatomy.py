"""Where regions of the built-in parcellation are: facts as data, in MNI152 mm of one hemisphere (x counted outwards).

Cortex: each coordinate of Seitzman 2018 in the cerebral cortex, by its row in nilearn's packaged table, with the gyrus
it lies in. Deep structures: chains of ellipsoids that follow the structure's long axis, placed by the packaged
coordinates inside it (rows named beside the chain) and shaped on the ICBM152 2009a tissue maps.

Gyri were assigned and chains placed by hand. The chains' half axes were enlarged once and the hippocampus moved by 1 mm
or so after their overlap with Harvard-Oxford and Neuromorphometrics had been seen, so that overlap with those two is a
fit and no independent validation.
"""

from __future__ import annotations

from dataclasses import dataclass

# name -> (lobe for white matter, rows of Seitzman 2018)
CORTEX: dict[str, tuple[str, tuple[int, ...]]] = {
    "frontal pole": ("frontal", (64, 66, 94, 95, 110, 113, 181, 182, 189, 194, 202, 208)),
    "superior frontal gyrus": ("frontal", (42, 52, 57, 93, 96, 99, 100, 119, 120, 123, 124, 184, 185, 216)),
    "middle frontal gyrus": ("frontal", (65, 92, 177, 179, 187, 191, 192, 195, 196)),
    "inferior frontal gyrus": ("frontal", (175, 199, 215, 217)),
    "orbitofrontal cortex": ("frontal", (2, 10, 67, 87, 128, 186, 239, 240, 241, 242)),
    "medial frontal cortex": ("frontal", (102, 104, 107, 108, 112, 115, 116, 117)),
    "anterior cingulate": ("frontal", (54, 101, 109, 121, 203, 205, 206, 207)),
    "middle cingulate": ("frontal", (23, 29, 53)),
    "posterior cingulate": ("parietal", (97, 103, 105, 106, 114, 137, 138)),
    "supplementary motor area": ("frontal", (28, 55, 56, 204)),
    "precentral gyrus": ("frontal", (16, 18, 24, 31, 33, 35, 37, 39, 44, 45, 47, 62, 176, 180, 226, 231)),
    "postcentral gyrus": ("parietal", (14, 15, 17, 20, 21, 22, 30, 32, 34, 36, 38, 40, 41, 48, 70)),
    "paracentral lobule": ("frontal", (25, 26, 27, 222)),
    "superior parietal lobule": ("parietal", (19, 183, 188, 225, 227, 229, 230)),
    "supramarginal gyrus": ("parietal", (43, 73, 79, 174, 197, 200, 218)),
    "angular gyrus": ("parietal", (86, 88, 91, 127, 129, 178, 190, 193)),
    "precuneus": ("parietal", (12, 98, 111, 118, 122, 135, 136, 139, 228)),
    "cuneus": ("occipital", (151, 154, 156, 157, 160, 161)),
    "calcarine cortex": ("occipital", (150, 155, 158, 159)),
    "lingual gyrus": ("occipital", (152, 153, 162, 163, 164)),
    "lateral occipital cortex": (
        "occipital",
        (90, 125, 143, 144, 145, 147, 149, 165, 168, 169, 170, 171, 172, 173, 219, 223, 224),
    ),
    "occipital pole": ("occipital", (1, 3, 140, 141, 142, 148)),
    "fusiform gyrus": ("temporal", (134, 146, 166, 167, 220, 221, 233, 234)),
    "inferior temporal gyrus": ("temporal", (0, 4, 5, 6, 9, 11, 198)),
    "middle temporal gyrus": ("temporal", (7, 8, 80, 81, 82, 83, 84, 85, 132, 133, 211, 232)),
    "superior temporal gyrus": ("temporal", (71, 74, 75, 78, 130, 210, 212, 213, 214)),
    "temporal pole": ("temporal", (89, 126, 131)),
    "insula": ("deep", (46, 51, 58, 59, 61, 63, 76, 201, 209)),
    "opercular cortex": ("deep", (49, 50, 60, 68, 69, 72, 77)),
}
# Row 13 lies on the midline and has no side.
MIDLINE_ROWS = (13,)
CEREBELLUM_ROWS = tuple(range(273, 300))


@dataclass(frozen=True)
class Chain:
    """A deep structure.

    Parameters
    ----------
    name : str
        Without its side.
    tissue : {"grey", "any", "white", "csf"}
        What its voxels are made of.
    nodes : tuple of (x, y, z, rx, ry, rz)
        Ellipsoids (centre and half axes, mm) joined along straight lines.
    paired : bool
        Whether left and right are separate regions.
    """

    name: str
    tissue: str
    nodes: tuple[tuple[float, float, float, float, float, float], ...]
    paired: bool = True


CHAINS = (
    # rows 235 to 238: (25, -11, -22), (25, -38, -2)
    Chain(
        "hippocampus",
        "grey",
        (
            (20, -10, -21, 7, 5, 6),
            (24, -14, -20.5, 9, 6, 7),
            (27, -22, -16, 8, 6, 6.5),
            (28, -30, -10, 7.5, 6, 6.5),
            (24, -36, -4, 7, 5, 5.5),
        ),
    ),
    # rows 243, 244: (20, -2, -23)
    Chain("amygdala", "grey", ((23, -4, -18, 10, 7.5, 8),)),
    # below the hippocampus, from the entorhinal cortex to the isthmus
    Chain(
        "parahippocampal region",
        "grey",
        (
            (20, -4, -31, 8, 6, 6),
            (22, -14, -30, 9, 6, 6),
            (22, -24, -24, 9, 6, 6),
            (22, -32, -17, 9, 6, 6.5),
            (16, -39, -8, 8, 5, 6),
        ),
    ),
    # rows 261 to 272
    Chain(
        "thalamus",
        "any",
        ((5, -6, 7, 6, 7, 8), (8, -14, 7, 8.5, 8, 10), (11, -21, 7, 11.5, 8, 10.5), (16, -28, 4, 10, 7.5, 9)),
    ),
    Chain("ventral diencephalon", "any", ((5, -4, -9, 5, 6, 6), (10, -15, -7, 7, 7, 6))),
    # rows 247 to 250
    Chain(
        "caudate",
        "grey",
        (
            (11, 16, 0, 7, 7.5, 7.5),
            (13, 13, 9, 6.5, 7, 7),
            (14, 2, 17, 5, 6, 6),
            (17, -10, 20, 4, 6, 5),
            (20, -20, 21, 3.5, 5, 4),
        ),
    ),
    # rows 251 to 258
    Chain(
        "putamen",
        "any",
        ((20, 12, -4, 7, 7.5, 8), (24, 7, 1, 7.5, 7.5, 10), (27, -2, 2, 7, 7.5, 11), (30, -12, 2, 5.5, 7, 9)),
    ),
    # rows 259, 260: (19, -5, -3)
    Chain("pallidum", "any", ((14, 3, -3, 5, 5, 5), (19, -4, -1, 6, 6, 7), (23, -11, 0, 4.5, 5, 6))),
    # rows 245, 246: (12.6, 17, -5)
    Chain("accumbens", "any", ((9.5, 11.5, -7.5, 6, 6, 5.5),)),
    Chain(
        "lateral ventricle",
        "csf",
        (
            (13, 30, 3, 6, 5, 8),
            (10, 20, 8, 9, 8, 10),
            (8, 6, 16, 9, 8, 9),
            (10, -10, 20, 10, 8, 9),
            (16, -26, 20, 11, 8, 10),
            (24, -38, 14, 11, 9, 11),
            (28, -42, 5, 9, 9, 9),
            (30, -34, -5, 6, 7, 6),
            (34, -22, -13, 5, 7, 6),
            (32, -12, -20, 5, 6, 5),
        ),
    ),
    Chain("lateral ventricle", "csf", ((26, -46, 8, 8, 8, 8), (22, -66, 8, 5, 6, 6))),
    # the upper face under the tentorium, where the coordinates lie too low to hold their own against the cortex
    Chain(
        "cerebellum",
        "grey",
        ((5, -54, -10, 7, 9, 7), (18, -52, -22, 12, 11, 8), (32, -54, -29, 12, 12, 9), (40, -62, -34, 10, 12, 9)),
    ),
    Chain("third ventricle", "csf", ((0, 0, -8, 4, 6, 8), (0, -20, 2, 4, 8, 9)), paired=False),
    Chain("fourth ventricle", "csf", ((0, -38, -24, 5, 5, 6), (0, -44, -34, 10, 6, 8)), paired=False),
    Chain(
        "brain stem",
        "any",
        (
            (0, -46, -64, 11, 10, 8),
            (0, -41, -50, 13, 11, 9),
            (0, -31, -36, 19, 15, 11),
            (0, -29, -24, 19, 14, 9),
            (0, -26, -12, 16, 13, 8),
        ),
        paired=False,
    ),
    Chain(
        "corpus callosum",
        "white",
        (
            (0, 24, -4, 8, 5, 4),
            (0, 30, 6, 9, 6, 8),
            (0, 20, 19, 9, 7, 6),
            (0, 4, 24, 9, 8, 6),
            (0, -16, 26, 9, 8, 6),
            (0, -32, 22, 9, 7, 7),
            (0, -38, 14, 9, 6, 8),
        ),
        paired=False,
    ),
)
