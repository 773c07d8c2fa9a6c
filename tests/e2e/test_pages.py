"""The snippets of the README and the documentation, run: a page's lines are one story, told in a folder of its own.

What a page presumes is put there first (`STAGE`, `PRESUMED`), numbers are made small (`SMALLER`, `CHANGES`), and what
cannot run here stands in `ELSEWHERE` with the reason and the place where it is tried.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from helpers import stage
from helpers.atlases import stand_in
from helpers.brains import bids_of
from helpers.bundles import AD, MS, SEX
from helpers.public import oasis_folder
from helpers.snippets import REPOSITORY, bare, lines, pages, snippets
from helpers.studies import cohort_of
from helpers.thirds import spread
from neuroxai.cohort.public import oasis_entries, write_cohort
from neuroxai.processes import queue_settings
from neuroxai.studies import names, text_of
from neuroxai.studies.check import check
from neuroxai.studies.reading import load, read_study

PAGES = {name: page for name, page in pages().items() if snippets(page)}
ENVIRONMENT = "makes the environment, in which this test runs already: the quickstart does it in a fresh clone"
WHEEL = "from a clone, into an environment of its own: test_wheel.py"
STUDY = "minutes; made smaller: test_tutorials.py"
CLUSTER = "needs several machines; two processes on one: tests/cli/test_prepare.py, tests/studies/test_engine.py"
GPUS = "needs GPUs and days; --dry-run of the same study runs here, a small one in tests/studies/test_engine.py"
RANKS = "processes that wait for each other: tests/bundles/test_processes.py, tests/cli/test_explain_scores.py"
LABEL = "another environment: scripts/label_test.sh"
ELSEWHERE = {
    "pip wheel --no-deps . --wheel-dir dist": WHEEL,
    'pip install torch==2.13.0 "$(ls dist/neuroxai-*.whl)[train,prepare]"': WHEEL,
    "neuroxai quickstart": "minutes; made smaller: test_quickstart.py",
    "bash scripts/quickstart.sh": "minutes; made smaller: test_quickstart.py",
    "bash scripts/quickstart.sh --spacing 2": "hours; on a coarse grid: test_quickstart.py",
    "bash scripts/test.sh": "this test is part of it",
    "bash scripts/test.sh -k lrp": "part of the line above",
    "bash scripts/test.sh --full": "this test is part of it",
    "bash scripts/docs.sh": "tests/test_site.py",
    "bash scripts/label_test.sh": LABEL,
    "bash scripts/dicomweb_test.sh": "runs tests that are part of this tier: tests/cli/test_explain_archive.py",
    "neuroxai bundle verify": "minutes; of one bundle: tests/bundles/test_verify.py",
    "neuroxai bundle verify OUT/bundle --quick": "a minute: tests/bundles/test_verify.py",
    "python scripts/experiments/networks_table.py --out docs/concepts/networks.md": "an hour; of two: "
    "tests/scripts/test_networks_table.py",
    "source scripts/env.sh": ENVIRONMENT,
    "pip install 'neuroxai[prepare,brain]'": ENVIRONMENT,
    "bash scripts/label_env.sh neuroxai label start OUT/bundle COHORT": LABEL,
    "python scripts/ohif.py --plugin BUNDLE SERIES PICTURES": "the same environment, Orthanc, Chromium and playwright; "
    "its logic: tests/label/test_viewers.py",
    "bash scripts/label_env.sh neuroxai label start BUNDLES SCANS": LABEL,
    "curl -X POST 'http://127.0.0.1:8000/infer/BUNDLE?output=json' -F file=@scan.nii.gz "
    """-F 'params={"method": "saliency"}'""": LABEL,
    "curl -X POST 'http://127.0.0.1:8000/infer/BUNDLE?output=image' -F file=@scan.nii.gz "
    """-F 'params={"heatmap": "raw"}' -o heatmap.nii.gz""": LABEL,
    "neuroxai atlas show harvard-oxford-subcortical --download": "needs the network: tests/atlas/test_named.py",
    "neuroxai explain OUT/bundle sub-0001_T1w.nii.gz --atlas jhu-22 --out OUT/one": "needs FSL's copy of that atlas; "
    "stand-ins for it: tests/atlas/test_named.py",
    **dict.fromkeys(
        (
            "neuroxai explain BUNDLE https://archive.example/dicom-web/studies/UID --series t1_mprage --out explained "
            "--dicom-out objects --store",
            "neuroxai explain BUNDLE https://archive.example/dicom-web/studies/UID/series/UID --out explained "
            "--dicom-out objects --store",
            "bash scripts/label_env.sh neuroxai label start BUNDLE https://archive.example/dicom-web/studies/UID "
            "--description mprage --store",
        ),
        "needs an archive: tests/cli/test_explain_archive.py",
    ),
    "dcmsend -aec ARCHIVE +r archive.example 104 objects": "needs DCMTK and an archive",
    "python scripts/check_pages.py explained/report/index.html explained/report/sub-0012.html --axe axe.min.js "
    "--shots shots": "needs a browser: tests/report/test_in_a_browser.py",
    "neuroxai trust quickstart/bundle quickstart/cohort --out card --attach": "minutes: tests/studies/test_trust.py",
    "neuroxai study run heatmaps --quick --out heatmaps --method captum.attr:Saliency": "minutes; made smaller: "
    "tests/studies/analyses/test_heatmaps.py",
    "neuroxai study run heatmaps --cohort main=TWINS --out on_mine --gpus 0,1": GPUS,
    "neuroxai study run klingenberg2021 --quick --out study4 --jobs 2": STUDY,
    "neuroxai study run boehle2019 --quick --out study1 --jobs 2": STUDY,
    "neuroxai study run eitel2019 --quick --out study2": STUDY,
    "neuroxai study run eitel2021 --quick --out study5 --jobs 2": STUDY,
    "neuroxai study run eitelritter2019 --quick --out study3 --jobs 2": STUDY,
    "neuroxai study run klingenberg2021 --cohort BIDS --out mine --gpus 0,1": GPUS,
    "neuroxai study run klingenberg2021 --cohort BIDS --out study4 --jobs 4 --gpus auto": GPUS,
    "neuroxai study run boehle2019 --cohort COHORT --out study1": GPUS,
    "neuroxai study run boehle2019 --cohort COHORT --out study1 --gpus 0,1": GPUS,
    "neuroxai study run boehle2019 --cohort COHORT --out study1 --gpus 0,1,2,3": GPUS,
    "neuroxai study run eitel2019 --cohort main=FLAIR --cohort pretraining=T1W --out study2 --gpus auto": GPUS,
    "neuroxai study run mine.yaml --cohort COHORT --out study5 --gpus auto": GPUS,
    "neuroxai study run eitelritter2019 --cohort COHORT --out study3 --gpus auto": GPUS,
    "neuroxai study status study2": "of such a study: tests/studies/test_engine.py",
    "neuroxai study report study2": "of such a study: tests/studies/test_engine.py",
    "dask scheduler": CLUSTER,
    "dask worker tcp://HOST:8786 --nthreads 1 --nworkers 16": CLUSTER,
    "CUDA_VISIBLE_DEVICES=0 dask worker tcp://HOST:8786 --nthreads 1 --nworkers 1": CLUSTER,
    "neuroxai prepare BIDS prepared --scheduler tcp://HOST:8786": CLUSTER,
    "neuroxai explain bundle COHORT --part test --out explained --scheduler tcp://HOST:8786": (
        "tests/cli/test_explain_cluster.py"
    ),
    'neuroxai prepare BIDS prepared --scheduler "slurm://QUEUE?jobs=16&cores=4&memory=16GB&walltime=04:00:00"': (
        "with a stand-in for sbatch: tests/test_queues.py"
    ),
    "neuroxai study run eitel2021 --cohort COHORT --out /shared/study5 --scheduler tcp://HOST:8786": CLUSTER,
    "neuroxai study run boehle2019 --cohort COHORT --out study1 --scheduler tcp://HOST:8786": CLUSTER,
    "torchrun --standalone --nproc_per_node=2 -m monai.bundle run training --config_file "
    "\"['configs/train.json','configs/multi_gpu_train.json']\" --bundle_root . --dataset_dir COHORT": RANKS,
    "torchrun --standalone --nproc_per_node=4 -m monai.bundle run training --config_file "
    "\"['bundle/configs/train.json','bundle/configs/multi_gpu_train.json']\" --bundle_root bundle "
    "--dataset_dir COHORT": RANKS,
    "torchrun --standalone --nproc_per_node=4 -m neuroxai explain bundle COHORT --part test --out explained": RANKS,
}
SMALLER = (
    (r"--subjects \d+", "--subjects 16"),
    (r"--jobs \d+", "--jobs 1"),
    (r"--spacing [24]\b", "--spacing 5"),
    (r"--(min|max)_epochs \d+", r"--\1_epochs 1"),
    (r"\[1, 1, 96, 114, 96\]", "[1, 1, 38, 46, 38]"),
    (r"((?:run training|neuroxai train) (?!.*--spacing)[^#\n]*)", r"\1 --spacing 5 "),
    (r"((?:run training|neuroxai train) (?!.*--max_epochs)[^#\n]*)", r"\1 --max_epochs 1 "),
    (r"(neuroxai simulate (?!.*--(?:spacing|from)).*?)(\s#|$)", r"\1 --spacing 5\2"),
    (r"(neuroxai prepare (?!.*--(?:spacing|preset)).*?)(\s#|$)", r"\1 --spacing 5\2"),
)
TRAINED_HERE = {"COHORT": stage.phantoms}
# a file of a study's name is taken before the study, whose probe at 1 mm takes minutes
COARSE = {"boehle2019": stage.study}
SEX_PAGE = "bundles/brain_t1w_sex_pif_classification/docs/README.md"
MS_PAGE = "bundles/brain_flair_ms_classification/docs/README.md"
AD_PAGE = "bundles/brain_t1w_alzheimers_classification/docs/README.md"
STAGE = {
    "README.md": {
        "BIDS": stage.heads,
        "COHORT": stage.prepared,
        "sub-0001_T1w.nii.gz": stage.scan,
        "SERIES": stage.series,
    },
    "docs/what-is-inside.md": {
        "BIDS": stage.heads,
        "COHORT": stage.prepared,
        "sub-0001_T1w.nii.gz": stage.scan,
        "SERIES": stage.series,
    },
    AD_PAGE: {".": stage.bundle(AD), **TRAINED_HERE},
    SEX_PAGE: {".": stage.bundle(SEX), **TRAINED_HERE},
    MS_PAGE: {
        ".": stage.bundle(MS),
        "bundle": stage.bundle(MS),
        "COHORT": stage.link("L"),
        "OTHER": stage.link("A"),
    },
    "docs/concepts/atlases.md": {"my_atlas.nii.gz": stage.atlas},
    "docs/concepts/statistics.md": {".tables": lambda given, target: stage.tables(given, target.parent)},
    "docs/concepts/trust.md": {"bundle": stage.bundle(AD), "COHORT": stage.phantoms},
    "docs/how-to/choose-a-method.md": {"bundle": stage.trained, "cohort": stage.phantoms},
    "docs/how-to/dicom.md": {"BUNDLE": stage.trained, "SERIES": stage.series, "FOLDER": stage.series},
    "docs/how-to/federated.md": {"bundle": stage.bundle(AD), "COHORT": stage.phantoms},
    "docs/how-to/prepare.md": {
        "BIDS": stage.heads,
        "prepared": stage.prepared,
        "ONE": stage.head_with_lesions,
        "DICOM": stage.series,
        "my_map_on_the_network_grid.nii.gz": stage.a_map,
    },
    "docs/how-to/public-data.md": {
        "DATA": stage.oasis,
        "BIDS": stage.adni,
        "adni": stage.heads,
        "ds002748": stage.heads,
        "prepared": stage.prepared,
        **COARSE,
    },
    "docs/how-to/read-a-report.md": {"bundle": stage.trained, "cohort": stage.phantoms},
    "docs/how-to/share-a-bundle.md": {"OUT/bundle": stage.trained},
    "docs/how-to/simulate.md": {"prepared": stage.labelled, "study": stage.families, "masks": stage.lesion_masks},
    "docs/how-to/studies.md": {"COHORT": stage.phantoms, **COARSE},
    "docs/how-to/your-atlas.md": {
        "bundle": stage.trained,
        "COHORT": stage.phantoms,
        "my_atlas.nii.gz": stage.atlas,
    },
    "docs/how-to/your-cluster.md": {
        "BIDS": stage.heads,
        "prepared": stage.prepared,
        "COHORT": stage.phantoms,
        **COARSE,
    },
    "docs/how-to/your-network.md": {"COHORT": stage.phantoms},
    "docs/tutorials/boehle2019.md": {"COHORT": stage.phantoms, **COARSE},
    "docs/tutorials/klingenberg2021.md": {"BIDS": stage.heads, "klingenberg2021": stage.study},
    "docs/tutorials/your-own-scans.md": {"prepared": stage.prepared, "SERIES": stage.series},
}
# calibration wants ten scans of each class, more than there are
FULLER = """python - <<'EOF'
import pandas as pd
table = pd.read_csv("validation/predictions.tsv", sep="\\t")
fuller = [table.assign(participant_id=table["participant_id"] + f"x{n}") for n in range(10)]
pd.concat(fuller).to_csv("validation/predictions.tsv", sep="\\t", index=False)
EOF
"""
# what a page speaks of before its first lines, or before the lines of another of its blocks
PRESUMED = {
    ("docs/concepts/statistics.md", 1): "rm -r explained cohort compared",
    ("docs/how-to/read-a-report.md", 0): f"""
neuroxai explain bundle cohort --out explained
cp -r explained explained-2
cp -r explained explained-3
neuroxai predict bundle cohort --part validation --out validation
{FULLER}neuroxai compare explained --participants cohort/participants.tsv --control CN --adjust none --out compared \\
    --save-reference controls.json --accept-trained
""",
}
FROM = "--effect atrophy --from prepared/participants.tsv"
# two blanks keep a number from `SMALLER`
# phantoms, and heads whose background is not 0, stand in for scans that the page's network would know
UNKNOWN = ("SERIES --out", "SERIES --accept-unfit --out")
CHANGES = {
    "README.md": [('explain("sub-0001_T1w.nii.gz")', 'explain("sub-0001_T1w.nii.gz", accept_unfit=True)')],
    "docs/what-is-inside.md": [UNKNOWN, ("sub-0001_T1w.nii.gz --out", "sub-0001_T1w.nii.gz --accept-unfit --out")],
    "docs/how-to/dicom.md": [UNKNOWN, ("t1_mprage --out", "t1_mprage --accept-unfit --out")],
    SEX_PAGE: [("fold-k", "fold-1"), ("OUT/k/", "OUT/1/"), ("[1, 1, 96, 114, 96]", "[1, 1, 39, 46, 39]")],
    MS_PAGE: [("for seed in 0 1 2 3 4;", "for seed in 0;")],
    "docs/concepts/statistics.md": [("--subjects 280", "--subjects  80")],
    "docs/how-to/prepare.md": [
        ("prepare BIDS filled", "prepare ONE filled"),
        ("prepare BIDS study1 --preset boehle2019", "prepare ONE study1 --preset boehle2019 --spacing 5"),
        ("res-2", "res-5"),
    ],
    # three ways to the same folder
    "docs/how-to/public-data.md": [
        ("--download --subjects 100", "--data DATA --subjects  8"),
        ("BIDS adni", "BIDS adni-bids"),
        ("CAPS adni --table ADNIMERGE.csv", "CAPS adni-caps --table ADNIMERGE.csv"),
        ("CAPS adni --table BIDS", "CAPS adni-both --table BIDS"),
    ],
    "docs/how-to/read-a-report.md": [("sub-0012", "sub-12")],
    "docs/how-to/simulate.md": [
        (f"planted {FROM} --region hippo", f"p2 {FROM} --region hippo"),
        (f"planted {FROM} --atlas", f"p3 {FROM} --atlas"),
        (f"planted {FROM} --label-maps", f"p4 {FROM} --label-maps"),
        ("lesions --effect lesions --subjects", "l2 --effect lesions --subjects"),
    ],
    "docs/tutorials/your-own-scans.md": [
        UNKNOWN,
        ("res-2", "res-5"),
    ],
}


def story(name: str) -> str:
    """All of a page's lines, made small."""
    told = ["trap 'echo \"this line failed: $BASH_COMMAND\" >&2' ERR", "set -E"]
    blocks = [one for one in snippets(PAGES[name]) if one.language in ("bash", "python")]
    for place, one in enumerate(blocks):
        told.append(PRESUMED.get((name, place), ""))
        text = "\n".join(line for line in one.text.splitlines() if bare(line) not in ELSEWHERE)
        for old, new in CHANGES.get(name, ()):
            text = text.replace(old, new)
        if one.language == "python":
            told.append(f"python - <<'EOF'\n{text}\nEOF")
            continue
        for pattern, new in SMALLER:
            text = re.sub(pattern, new, text, flags=re.MULTILINE)
        told.append(text)
    return "\n".join(told)


def runs(name: str) -> bool:
    """Whether anything of a page is run here."""
    kinds = {one.language for one in snippets(PAGES[name])}
    return "python" in kinds or any(line not in ELSEWHERE for line in lines(PAGES[name]))


def test_nothing_is_left_out_that_no_page_prints():
    printed = {line for page in PAGES.values() for line in lines(page)}
    assert set(ELSEWHERE) <= printed
    for reason in ELSEWHERE.values():
        for named in re.findall(r"[\w/]+\.(?:py|sh)\b", reason):
            assert any((place / named).is_file() for place in (REPOSITORY, Path(__file__).parent)), named
    for name, changes in CHANGES.items():
        text = "".join(one.text for one in snippets(PAGES[name]))
        assert all(old in text for old, _ in changes), name
    assert set(STAGE) | {name for name, _ in PRESUMED} <= set(PAGES)
    assert {one.language for page in PAGES.values() for one in snippets(page)} == {"bash", "python", "yaml", "sh"}


@pytest.fixture(scope="module")
def given(tmp_path_factory, tiny_cohort, trained_bundle):
    root = tmp_path_factory.mktemp("given")
    bids = bids_of(root / "bids", 6)
    command = ["neuroxai", "prepare", "bids", "prepared", "--arm", "linear", "--spacing", "5", "--jobs", "2"]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    return stage.Given(tiny_cohort, trained_bundle, bids, root / "prepared")


@pytest.mark.xdist_group("pages")
@pytest.mark.parametrize("name", spread(name for name in PAGES if runs(name)))
def test_a_page_runs(name, given, terminal, tmp_path):
    stage.set_up(tmp_path, given, STAGE.get(name, {}))
    done = terminal.run(story(name), tmp_path, HOME=str(tmp_path / "home"))
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr, done.stderr[-3000:]


def yaml_snippets():
    return [(name, one.text) for name, page in PAGES.items() for one in snippets(page) if one.language == "yaml"]


@pytest.mark.parametrize(("name", "text"), yaml_snippets(), ids=lambda value: value if value in PAGES else "")
def test_a_declaration_is_taken(name, text, tmp_path, tiny_cohort, monkeypatch):
    """A whole one as it stands, keys in the study that their page runs on a cohort; all that they name is looked up."""
    monkeypatch.chdir(tmp_path)
    values = load(text, name)
    if "system" in values:  # of a queueing system
        Path("queue.yaml").write_text(text)
        assert queue_settings("queue.yaml") == values
        return
    monkeypatch.setenv("SPM_HOME", str(tmp_path / "spm"))
    stand_in(tmp_path / "spm", "tpm/labels_Neuromorphometrics.nii", "tpm/labels_Neuromorphometrics.xml")
    cohort_of(tiny_cohort, tmp_path / "COHORT")
    write_cohort(tmp_path / "oasis", *oasis_entries(8, oasis_folder(tmp_path / "DATA")), [], {}, {})
    if "title" not in values:
        (study,) = [n for n in names() if f"study run {n} --cohort" in PAGES[name].read_text()]
        values = {**load(text_of(study), study), **values}
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    check(read_study("mine.yaml"))


@pytest.mark.parametrize("name", [n for n, p in PAGES.items() if any(one.language == "sh" for one in snippets(p))])
def test_a_batch_script_is_one_and_its_lines_are_known(name):
    """Its commands are those that the page's other blocks explain."""
    for one in snippets(PAGES[name]):
        if one.language != "sh":
            continue
        subprocess.run(["bash", "-n"], input=one.text, text=True, check=True)
        commands = [bare(line).removeprefix("srun ") for line in one.text.splitlines() if bare(line)]
        assert set(commands) <= set(ELSEWHERE), commands
