from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from helpers.pages import without_own_scripts
from neuroxai.compare.scores import Region
from neuroxai.derivatives.explained import Failure
from neuroxai.evaluation import Estimate
from neuroxai.pictures.text import number, percent
from neuroxai.report import CohortValues, ScanValues, cohort_page, scan_page
from neuroxai.report.page import study_page
from neuroxai.report.scan.cards import cards_of
from neuroxai.report.values import GroupMap, ScanLink, StudyValues, Table

EVIL = "<script>alert(1)</script>\" onload='x'"
PNG = b"\x89PNG\r\n"
SCAN = ScanValues(
    title="sub-0001",
    probabilities={"CN": 0.25, "AD": 0.75},
    predicted="AD",
    true="CN",
    target="AD",
    score=-1.25,
    mosaic=PNG,
    mosaic_space="12 x 14 x 12 voxels of 4 x 4 x 4 mm, LPS",
    limit=0.5,
    regions={
        "sum for": [Region("Hippocampus", 2.0, 0.1, 20)],
        "sum against": [],
        "density for": [],
        "density against": [Region("Pons", -1.0, -0.25, 4)],
    },
    provenance=[("Method", "lrp_alpha_beta")],
)
LINK = ScanLink("sub-0001", "sub-0001.html", "AD", "AD", 0.75, "TP", thumbnail=b"\xff\xd8")
COHORT = CohortValues(
    classes=["CN", "AD"],
    positive="AD",
    scans=1,
    participants=1,
    labelled=1,
    metrics={
        "sensitivity": Estimate(1.0, 0.2065, 1.0, "Wilson", 1),
        "roc_auc": Estimate(None, None, None, "", 1, reason="all 1 scans belong to the positive class"),
    },
    confusion={"TP": [LINK], "FP": [], "TN": [], "FN": []},
    roc=None,
    groups=[GroupMap("All patients", 1, PNG), GroupMap("All controls", 0, None)],
    limit=0.5,
    regions=[],
    region_groups=["patients"],
    truth={},
    links=[LINK],
    failures=[],
    provenance=[],
)


def text_of(html: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_scan_page_says_what_it_must():
    text = text_of(scan_page(SCAN))
    for words in (
        "research use only",
        "25.0 %",
        "75.0 %",
        "the prediction is wrong",
        "Class explained below: AD , logit \N{MINUS SIGN}1.25",
        "Neurological convention",
        "99.9th percentile",
        "from \N{MINUS SIGN}0.5 to 0.5",
        "12 x 14 x 12 voxels",
        "Hippocampus 2 0.1 20",
        "Pons \N{MINUS SIGN}1 \N{MINUS SIGN}0.25 4",
        "No region has a negative sum.",
        "It does not show disease",
        "lrp_alpha_beta",
    ):
        assert words in text, words


def test_unknown_label_is_said_to_be_unknown():
    text = text_of(scan_page(replace(SCAN, true="")))
    assert "True label: not given ." in text
    assert "prediction is right" not in text
    assert "prediction is wrong (" not in text


def test_a_negative_logit_is_explained():
    assert "The logit explained is below zero" in scan_page(SCAN)
    for score in (0.5, None):
        assert "below zero" not in scan_page(replace(SCAN, score=score))


def test_cohort_page_says_what_it_must():
    text = text_of(cohort_page(COHORT))
    for words in (
        "1 scan of 1 participant ",
        "Sensitivity 1.000 0.206 to 1.000 1 Wilson",
        "ROC-AUC n/a undefined: all 1 scans belong to the positive class",
        "All controls (n = 0) No scan is in this group.",
        "False negatives: none.",
    ):
        assert words in text, words
    assert '<a href="sub-0001.html">sub-0001</a>' in cohort_page(COHORT)


class Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize(
    "page",
    [
        scan_page(
            replace(
                SCAN,
                title=EVIL,
                predicted=EVIL,
                true=EVIL,
                target=EVIL,
                probabilities={EVIL: 1.0},
                regions={k: [Region(EVIL, 1.0, 1.0, 1)] for k in SCAN.regions},
                provenance=[(EVIL, EVIL)],
                notes=[EVIL],
            )
        ),
        cohort_page(
            replace(
                COHORT,
                positive=EVIL,
                classes=[EVIL],
                links=[replace(LINK, title=EVIL, true=EVIL, page=EVIL)],
                confusion={k: [replace(LINK, title=EVIL)] for k in COHORT.confusion},
                failures=[Failure(EVIL, EVIL)],
                notes=[EVIL],
                groups=[GroupMap(EVIL, 1, PNG)],
            )
        ),
    ],
    ids=["scan", "cohort"],
)
def test_user_text_is_escaped(page):
    page = without_own_scripts(page)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    seen = Tags()
    seen.feed(page)
    # no tag and no attribute came from the text
    assert "script" not in seen.tags
    assert "onload" not in seen.attributes


@pytest.mark.parametrize("page", [scan_page(SCAN), cohort_page(COHORT)], ids=["scan", "cohort"])
def test_pages_stand_alone_and_are_accessible(page):
    assert not re.search(r"(?:src|href|action|data)\s*=\s*[\"']?\s*(?:https?:)?//", page)
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in without_own_scripts(page)
    assert "<link" not in page
    assert "default-src 'none'" in page
    for image in re.findall(r"<img[^>]*>", page):
        assert re.search('src="data:image/(png|jpeg);base64,', image)
        assert re.search(r'alt="[^"]{20,}"', image)
    assert page.startswith("<!DOCTYPE html>")
    assert '<html lang="en-GB">' in page
    assert page.count("<h1>") == 1


def test_a_percent_sign_stays_on_the_line_of_its_figure():
    none = pd.DataFrame(columns=["run"])
    study = StudyValues("Study", "", "", ["Half, 50 %."], [], none, [], [], [], none, [], [])
    pages = [scan_page(replace(SCAN, outside=0.25)), cohort_page(COHORT), study_page(study)]
    for page, words in zip(pages, ("outside the brain: 25.0", "95", "Half, 50"), strict=True):
        assert not re.search(r"\d %", without_own_scripts(page))
        assert f"{words}\N{NO-BREAK SPACE}%" in page.replace("&nbsp;", "\N{NO-BREAK SPACE}")


def test_figures_for_people():
    assert number(0.000012345) == "1.23e\N{MINUS SIGN}5"
    assert number(-2.5) == "\N{MINUS SIGN}2.5"
    assert number(None) == number(float("nan")) == "n/a"
    assert percent(0.1234) == "12.3 %"
    assert percent(None) == "n/a"


def test_cards_say_what_matters_first():
    cards = {card.title: card for card in cards_of(SCAN)}
    assert cards["Decision"].value == "AD 75.0 %"
    assert cards["Decision"].tone == "bad"  # its true label is CN
    assert cards["Fit to the training scans"].value == "not known"
    assert cards["Most for AD"].value == "no region"
    assert cards["Most against AD"].regions == ["Pons"]
    assert cards["Stability over trainings"].value == "not known"
    assert "Strength of the map" not in cards
    doubtful = replace(SCAN, fit="far", unlike="its contrast is inverted", flags=["motion"], outside=0.25)
    cards = {card.title: card for card in cards_of(doubtful)}
    assert (cards["Fit to the training scans"].value, cards["Fit to the training scans"].tone) == ("far", "bad")
    assert "its contrast is inverted" in cards["Fit to the training scans"].details
    assert cards["Quality of the scan"].value == "1 flag"
    assert cards["Quality of the scan"].details == ["motion", "relevance outside the brain: 25.0 %"]


def test_a_scan_prepared_by_another_version_is_not_said_to_be_unprepared():
    def quality(**values):
        return next(card for card in cards_of(replace(SCAN, **values)) if card.title == "Quality of the scan")

    assert quality().details == ["not prepared by neuroxai prepare"]
    assert quality(other_version=True).value == "not known"
    assert "another version" in quality(other_version=True).details[0]


def test_scans_lead_to_each_other():
    page = scan_page(replace(SCAN, neighbours=[("previous", "sub-0000", "sub-0000.html"), ("next", "s 2", "s 2.html")]))
    assert '<a rel="prev" href="sub-0000.html">Previous: sub-0000</a>' in page
    assert '<a rel="next" href="s%202.html">Next: s 2</a>' in page


def test_contents_name_the_sections_that_are_there():
    page = scan_page(replace(SCAN, regions={}))
    for name in re.findall(r'<li><a href="#([^"]+)">', page):
        assert f'id="{name}"' in page
    assert '<a href="#decision">Decision</a>' in page
    assert "#regions" not in page


def test_a_trust_cards_sentence_stands_on_every_page_and_nothing_where_there_is_none():
    said = "Of 24 planted effects, lrp ranked an affected region first in 92 % (chance 5 %)."
    for page, values in ((scan_page, SCAN), (cohort_page, COHORT)):
        assert f"can be believed: {said}" in text_of(page(replace(values, trust=said)))
        assert "can be believed" not in page(values)


def test_a_study_page_names_the_columns_of_each_table():
    empty = pd.DataFrame(columns=["run"])
    table = Table("Areas", pd.DataFrame({"method": [EVIL], "mean_area": [0.25]}))
    html = study_page(StudyValues("Study", "", "", [], [], empty, [], [], [table], empty, [], []))
    assert '<th scope="col" class="n">mean area</th>' in html
    assert 'data-label="mean area">0.25' in html
    assert EVIL not in html
    assert "&lt;script&gt;" in html
