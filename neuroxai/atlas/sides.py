"""What a region's name says: its hemisphere, or that it is background."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_BACKGROUND = re.compile(r"(background|unknown|clear label|unclassified|unlabell?ed)\b[\s*.]*$", re.IGNORECASE)
# what tables call value 0 besides: a wider list, for no region has this value
_NOTHING = re.compile(
    r"[\W\d_]*|(background|unknown|clear|unclassified|unlabell?ed|not labell?ed|no label|none|null|nothing|n/?a|nan|"
    r"undefined|unassigned|unspecified|outside|exterior|non[- _]?brain|empty|void|air|zero|medial[- _]?wall|other)"
    r"\b([\W_]|label|region|area|value|voxels?|brain|freesurfer|defined|medial|wall|space)*",
    re.IGNORECASE,
)
# The first list that a name has a word of decides: in "Left-LH" the second is a nucleus, in "Left-R" too. No French:
# "gyrus droit" is the straight gyrus.
_LEFT = ("left", "links", "izquierdo", "izquierda", "sinistro", "sinistra", "sinister", "sinistrum")
_RIGHT = ("right", "rechts", "derecho", "derecha", "destro", "destra", "dexter", "dextrum")
_SIDES = ({**dict.fromkeys(_LEFT, "left"), **dict.fromkeys(_RIGHT, "right")}, {"lh": "left", "rh": "right"})
_HEMISPHERE = frozenset({"hemisphere", "hemispheric", "hemi", "hem", "side"})
_LONGEST = 1000
_WORD = re.compile(r"[^\W_]+")
_BETWEEN = " \t_.,;:/|\\-"  # also within the brackets of a pattern
_GLUED = (
    re.compile(r"(?P<side>[Ll]eft|[Rr]ight)(?=[A-Z])(?P<rest>.+)"),
    re.compile(r"(?P<rest>.*[a-z])(?P<side>Left|Right)"),
)
# sides that only the name of the other side proves: "lPreCG" and "rPreCG", "InsulaL" and "InsulaR"
_LETTERS = (
    re.compile(r"(?P<side>[lr])(?=[A-Z0-9])(?P<rest>.+)"),
    re.compile(r"(?P<side>[LR])(?=[A-Z][a-z]|[0-9])(?P<rest>.+)"),
    re.compile(r"(?P<side>[lr]h)(?=[A-Za-z])(?P<rest>.+)"),
    re.compile(r"(?P<rest>.*[^\W_])(?P<side>[LR])"),
)


def is_background(name: str) -> bool:
    """Whether a label's name says that it is no region (Background, Unknown, Clear Label, Unclassified)."""
    return _BACKGROUND.match(name.strip()) is not None


def is_no_region(name: str) -> bool:
    """Whether a name of the value 0 is one for the background: also ``???``, ``*.*``, ``NA``, ``Outside``."""
    return _NOTHING.fullmatch(name.strip()) is not None


def split_side(name: str) -> tuple[str, str]:
    """Split a region's name into its hemisphere and the rest.

    A side is the word left, right, LH or RH (some other languages' too) anywhere in the name, or the letter L or R at
    its beginning, at its end, or before nothing but numbers. What only the names of the other side would show is left
    to `hemispheres`.

    Parameters
    ----------
    name : str
        Such as ``"Left Hippocampus"``, ``"Cingulum (hippocampus) L"``, ``"7Networks_LH_Vis_1"``.

    Returns
    -------
    tuple of str
        ``"left"``, ``"right"`` or ``""``, and the name without the side.

    Examples
    --------
    >>> split_side("Right Amygdala")
    ('right', 'Amygdala')
    >>> split_side("Corticospinal tract L")
    ('left', 'Corticospinal tract')
    >>> split_side("SFG_L_7_1")
    ('left', 'SFG_7_1')
    >>> split_side("Area 44, right hemisphere")
    ('right', 'Area 44')
    >>> split_side("Brain-Stem")
    ('', 'Brain-Stem')
    """
    text = name.strip()
    if len(text) > _LONGEST:  # no name, and the search takes its square
        return "", text
    words = list(_WORD.finditer(text))
    for table in _SIDES:
        found = {place: table[word[0].lower()] for place, word in enumerate(words) if word[0].lower() in table}
        if found:
            break
    else:
        for pattern in _GLUED:
            glued = pattern.fullmatch(text)
            if glued:
                return glued["side"].lower(), glued["rest"].strip(_BETWEEN)
        letters = {"L": "left", "R": "right"}
        found = {p: letters[w[0]] for p, w in enumerate(words) if w[0] in letters and _at_an_end(text, words, p)}
    if len(set(found.values())) != 1:
        return "", text
    return next(iter(found.values())), _without(text, words, set(found))


def hemispheres(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Split all names of an atlas, so that the names of one side explain those of the other.

    Beside what `split_side` reads, a letter l or r in the midst of a name (``SFG_L_a``, ``af_l``, ``lPreCG``,
    ``InsulaL``), or all that the name is, is a side where the same name with the other letter is there too.

    Parameters
    ----------
    names : iterable of str
        Of one atlas.

    Returns
    -------
    dict of str to (str, str)
        For each name its side and the rest, as `split_side` gives them.

    Examples
    --------
    >>> hemispheres(["af_l", "af_r", "Layer l"])
    {'af_l': ('left', 'af'), 'af_r': ('right', 'af'), 'Layer l': ('', 'Layer l')}
    """
    split = {name: split_side(name) for name in names}
    for ways in (_by_letter, _by_glued_letter):
        open_names = [name for name, (side, _) in split.items() if not side]
        found: dict[tuple[int, str], dict[str, list[str]]] = {}
        for name in open_names:
            for way, side, rest in ways(name):
                found.setdefault((way, key_of(rest)), {}).setdefault(side, []).append(name)
        pairs = {key: sides for key, sides in found.items() if len(sides) == 2 and all(map(_single, sides.values()))}
        paired = {name for sides in pairs.values() for side in sides.values() for name in side}
        # letters glued to a name are common by chance, so that most names must pair before they count as sides
        if ways is _by_glued_letter and 2 * len(paired) < len(open_names):
            continue
        for (way, _), sides in pairs.items():
            for side, (name,) in sides.items():
                split[name] = side, next(rest for w, s, rest in ways(name) if w == way and s == side)
    return split


def key_of(rest: str) -> str:
    """Give what two names that differ in their side alone have in common, whatever stands between their words."""
    return " ".join(_WORD.findall(rest)).casefold()


def _single(names: list[str]) -> bool:
    return len(names) == 1


def _at_an_end(text: str, words: list[re.Match[str]], place: int) -> bool:
    after = [word[0] for word in words[place + 1 :] if word[0].lower() not in _HEMISPHERE]
    before = [word[0] for word in words[:place] if word[0].lower() not in _HEMISPHERE]
    if text[words[place].end() : words[place].end() + 1] in ("'", "’"):
        return False
    return bool(before or after) and (not before or all(word.isdigit() for word in after))


def _without(text: str, words: list[re.Match[str]], places: set[int]) -> str:
    """Cut words out of a name, with the word hemisphere beside them and one separator."""
    beside = {near for place in places for near in (place - 1, place + 1)} - places
    beside = {near for near in beside if near in range(len(words)) and words[near][0].lower() in _HEMISPHERE}
    if len(places | beside) < len(words):
        places = places | beside
    if len(places) == len(words):
        return "hemisphere"
    for place in sorted(places, reverse=True):
        before, after = text[: words[place].start()], text[words[place].end() :]
        between = re.search(rf"[{_BETWEEN}]+$", before)
        left, right = before.rstrip(_BETWEEN), after.lstrip(_BETWEEN)
        text = left + (between[0] if between and left and right else "") + right
    text = re.sub(r"[(\[]\s*[)\]]", "", text)
    return re.sub(r"\s+", " ", text).strip(_BETWEEN)


def _by_letter(name: str) -> Iterator[tuple[int, str, str]]:
    words = list(_WORD.finditer(name))
    for place, word in enumerate(words):
        if word[0] in ("L", "R", "l", "r"):
            yield 0, "left" if word[0] in "Ll" else "right", _without(name, words, {place})


def _by_glued_letter(name: str) -> Iterator[tuple[int, str, str]]:
    for way, pattern in enumerate(_LETTERS):
        found = pattern.fullmatch(name)
        if found:
            yield way, "left" if found["side"][0] in "Ll" else "right", found["rest"].strip(_BETWEEN)
