"""Damaged label tables: refused, or read as csv and json read them; no name, label or side changes in silence."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.mutations import damaged
from neuroxai.atlas.label_tables import read_table
from neuroxai.atlas.sides import hemispheres, split_side
from neuroxai.errors import InputError

NAMES = {
    0: "Background",
    1: "Left Hippocampus",
    2: "Right Hippocampus",
    3: "SFG_L_7_1",
    4: "SFG_R_7_1",
    5: "Brain-Stem",
    6: "Area 44",
    7: "7Networks_LH_Vis_1",
}
VALUES = [1, 2, 3, 4, 5, 6, 7]
Pairs = list[tuple[str, str]]


def _csv(separator: str, index: int = 0, name: int = 1) -> Callable[[str], Pairs]:
    def read(text: str) -> Pairs:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
        return [(row[index], row[name]) for row in rows if len(row) > max(index, name)]

    return read


def _lines(pattern: str) -> Callable[[str], Pairs]:
    return lambda text: [
        m.groups() for m in (re.fullmatch(pattern, line.strip()) for line in re.split(r"\r\n|\r|\n", text)) if m
    ]


def _workbench(text: str) -> Pairs:
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    return [(key.split()[0], name) for name, key in zip(lines[::2], lines[1::2], strict=False)]


def _spm(text: str) -> Pairs:
    return re.findall(r"<index>\s*(\d+)\s*</index>\s*<name>([^<]*)</name>", text)


def _json(text: str) -> Pairs:
    return list(json.loads(text).items())


# how each form is written, and how others read it
FORMS = {
    "csv": ("index,name,mapping\n", '{0},"{1}",9{0}\n', "", _csv(",")),
    "csv, index last": ("name,index\n", "{1},{0}\n", "", _csv(",", 1, 0)),
    "tsv": ("index\tname\tabbreviation\n", "{0}\t{1}\tx{0}\n", "", _csv("\t")),
    "CAT12": ("ROIid;ROIabbr;ROIname\n", "{0};x{0};{1}\n", "", _csv(";", 0, 2)),
    "FastSurfer": ("ID\tLabelName\tR\tG\tB\tA\n", "{0}\t{1}\t1\t2\t3\t0\n", "", _csv("\t")),
    "FreeSurfer": ("# header\n", "{0}  {1}  1 2 3 0\n", "", _lines(r"(\d+)\s+(.*\S)\s+\d+\s+\d+\s+\d+\s+\d+")),
    "FSLeyes": ("", "{0} 0.1 .25 1.0 {1}\n", "", _lines(r"(\d+)\s+[\d.]+\s+[\d.]+\s+[\d.]+\s+(.*)")),
    "plain": ("", "{0} {1}\n", "", _lines(r"(\d+)[\s|,;:=]+(.*?)[\s,;]*")),
    "ITK-SNAP": ("# header\n", '{0} 1 2 3 1 1 1 "{1}"\n', "", _lines(r'(\d+) 1 2 3 1 1 1 "(.*)"')),
    "no header": ("", "{0}\t{1}\t90{0}\n", "", _csv("\t")),
    "workbench": ("", "{1}\n{0} 1 2 3 255\n", "", _workbench),
    "SPM": ("<atlas><data>\n", "<label><index>{0}</index><name>{1}</name></label>\n", "</data></atlas>", _spm),
    "JSON": ("{{\n", '"{0}": "{1}",\n', '"99": "z"}}', _json),
}
INSERTED = [*"\"',;\t\n\r #01237LRlr_-.\u00e9\x0b\x85", "\n\n", "\\", "|", ":", "Left "]


def written(form: str, names: dict[int, str] = NAMES) -> str:
    head, row, foot, _ = FORMS[form]
    return head.replace("{{", "{") + "".join(row.format(*item) for item in names.items()) + foot.replace("}}", "}")


def tidy(name: str) -> str:
    return re.sub(r"\s+", " ", name).strip()


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_table_is_refused_or_read_as_others_read_it(tmp_path, form):
    rng = random.Random(form)
    path = tmp_path / "t.txt"
    read = refused = 0
    for _ in range(80):
        text = damaged(written(form), rng, INSERTED, r"\b\d")
        path.write_bytes(text.encode())
        try:
            table = read_table(path, VALUES)
        except InputError:
            refused += 1
            continue
        read += 1
        try:
            pairs = FORMS[form][3](text)
        except (ValueError, csv.Error):
            continue
        by_others: dict[int, set[str]] = {}
        for index, name in pairs:
            if re.fullmatch(r"\s*\d+\s*", index, re.ASCII):
                by_others.setdefault(int(index) + table.shifted, set()).add(tidy(name))
        for value in VALUES:
            ours, theirs = table.names.get(value, ""), by_others.get(value, set())
            # a label without a name is reported; a name that another reading gives would be a silent change
            assert not ours or not theirs or ours in theirs, (text, value, ours, theirs)
            assert not ours or split_side(ours)[0] in {split_side(name)[0] for name in theirs or {ours}}
    assert read > 10
    assert refused > 0


@pytest.mark.parametrize("form", FORMS)
def test_undamaged_tables_say_what_was_written(tmp_path, form):
    (tmp_path / "t.txt").write_text(written(form), encoding="utf-8")
    names = read_table(tmp_path / "t.txt", VALUES).names
    assert {value: names[value] for value in VALUES} == {value: NAMES[value] for value in VALUES}


# words of names that say no side, and are no number
words = st.lists(
    st.from_regex(r"[A-Za-z]{2,7}[0-9]?", fullmatch=True).filter(lambda w: split_side(w + " x")[0] == ""),
    min_size=1,
    max_size=3,
)
SPELLINGS = {
    "Left {}": ("Left", "Right"),
    "{} L": ("L", "R"),
    "L_{}": ("L", "R"),
    "{}_L": ("L", "R"),
    "lh.{}": ("lh", "rh"),
    "ctx-lh-{}": ("lh", "rh"),
    "7Networks_LH_{}_1": ("LH", "RH"),
    "{}_L_7_1": ("L", "R"),
    "{} (left)": ("left", "right"),
    "{} hemisphere left": ("left", "right"),
    "{}, left hemisphere": ("left", "right"),
    "{} left": ("left", "right"),
    "{}_L 2001": ("L", "R"),
    "{}-lh": ("lh", "rh"),
}


@given(words=words, spelling=st.sampled_from(sorted(SPELLINGS)), gap=st.sampled_from(" _-."))
def test_sides_are_read_whatever_the_region_is_called(words, spelling, gap):
    left, right = SPELLINGS[spelling]
    template = spelling.replace(left, "<>")
    names = [template.format(gap.join(words)).replace("<>", side) for side in (left, right)]
    (one, rest), (two, same) = (split_side(name) for name in names)
    assert (one, two) == ("left", "right")
    assert rest == same
    assert split_side(rest)[0] == "" or len(words) == 1
    assert hemispheres(names) == {names[0]: (one, rest), names[1]: (two, same)}


printed = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\"'"), min_size=1, max_size=9
)


@given(
    names=st.lists(
        st.lists(printed, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=6, unique_by=str.casefold
    ),
    start=st.sampled_from([1, 1, 7, 2001]),
    form=st.sampled_from(["csv", "tsv", "JSON"]),
)
def test_any_name_is_read_as_it_was_written(tmp_path_factory, names, start, form):
    table = dict(enumerate(names, start))
    path = tmp_path_factory.mktemp("t") / "t.txt"
    if form == "JSON":
        path.write_text(json.dumps({str(value): name for value, name in table.items()}), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, delimiter="," if form == "csv" else "\t")
            writer.writerows([("index", "name"), *table.items()])
    assert read_table(path, sorted(table)).names == {value: tidy(name) for value, name in table.items()}
