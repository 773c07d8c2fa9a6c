"""Regions joined as in the papers, as data: what each is made of, by the names of the atlas's own table.

Names stand without their hemisphere, which is always merged; ``*`` stands for any ending. Labels that no row lists
become background.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
