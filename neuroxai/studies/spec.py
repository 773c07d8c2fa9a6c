"""What a study is: a declaration of cohorts, arms, repetitions, settings, explanations and statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]


@dataclass(frozen=True)
class CohortSource:
    """Where a cohort comes from; ``--cohort NAME=DIR`` puts a folder in the place of a simulated one.

    Parameters
    ----------
    simulate : dict
        Options of `neuroxai simulate`: effect, subjects, spacing, seed, and misalign, raw (true or false).
    path : str
        A cohort's folder instead.
    target : str
        Column of participants.tsv with the class.
    classes : list of str
        Class names in the order of labels; the last is the patients'.
    suffix, desc : str
        Which scans of the folder, as for `neuroxai split`.
    run : str
        Which of several runs of a scan: first, last or all; ``--run`` says it for all cohorts.
    lesions : str
        Where each scan's lesion mask lies, with ``{participant}`` and ``{session}`` in it; a simulated cohort's are
        known.
    """

    simulate: Values = field(default_factory=dict)
    path: str | None = None
    target: str = "diagnosis"
    classes: list[str] = field(default_factory=lambda: ["CN", "AD"])
    suffix: str | None = None
    desc: str | None = None
    run: str | None = None
    lesions: str | None = None


@dataclass(frozen=True)
class Split:
    """How a cohort is divided, always by subject.

    Parameters
    ----------
    fractions : list of float
        Training, validation, test.
    repeats : int
        Random splits, each of its own seed.
    seed : int
        Of the first.
    match : bool
        Under-sample to equal sex within age bins of each class, anew for each split (Klingenberg 2021).
    test_sessions : {"all", "first"}
        All scans of a test subject or the baseline alone.
    age_bins : int
        Age ranges to stratify on.
    """

    fractions: list[float] = field(default_factory=lambda: [0.6, 0.2, 0.2])
    repeats: int = 1
    seed: int = 0
    match: bool = False
    test_sessions: str = "all"
    age_bins: int = 4


@dataclass(frozen=True)
class Arm:
    """One of the conditions that a study compares.

    Parameters
    ----------
    cohort : str
        A name of the study's cohorts.
    bundle : str
        Another bundle than the study's.
    settings : dict
        Overrides of the bundle's ``train.json``, beside the study's.
    prepare : dict
        Prepare the scans first: options of `neuroxai prepare` (arm, spacing, scaling, brain, ...).
    fill_lesions : str
        Fill the lesions of each scan first, by ``valverde`` or ``eitel2019``.
    pretrained : str
        Begin from the weights of another arm's run of the same split and repetition.
    train : bool
        False: take the weights as they are, untrained or pre-trained.
    share : float
        Keep this share of each class's subjects in training and validation; test stays as it is.
    search : dict
        Values of single hyper-parameters in this arm, in the place of the study's.
    explain : bool
        Whether its runs are explained.
    """

    cohort: str = "main"
    bundle: str | None = None
    settings: Values = field(default_factory=dict)
    prepare: Values = field(default_factory=dict)
    fill_lesions: str | None = None
    pretrained: str | None = None
    train: bool = True
    share: float = 1.0
    search: Values = field(default_factory=dict)
    explain: bool = True


@dataclass(frozen=True)
class Search:
    """Hyper-parameters drawn anew for each arm, split and repetition; the best draw on validation data goes on.

    Parameters
    ----------
    draws : int
        Trainings each; 0 for no search.
    sampler : {"random", "tpe"}
        Optuna's; random draws do not wait for each other.
    space : dict
        Hyper-parameter to a list of values, to ``{low, high, log}``, or to a mapping of names to settings.
    first : list of dict
        Values that the first draws are given; what they leave open is drawn.
    seed : int
        Of the draws.
    """

    draws: int = 0
    sampler: str = "random"
    space: Values = field(default_factory=dict)
    first: list[Values] = field(default_factory=list)
    seed: int = 0


@dataclass(frozen=True)
class Explanation:
    """One way to explain a network.

    Parameters
    ----------
    method : str
        A name of `neuroxai.attribution.names()`.
    options : dict
        The method's options.
    start : str
        Where relevance starts: logit or probability; the probability if left out.
    target : str
        Class to explain; the last if left out.
    layer : str
        Begin at this hidden layer instead of a class.
    neurons : "all" or list
        Filters of `layer`, each explained by itself; all of the layer at once if left out.
    """

    method: str
    options: Values = field(default_factory=dict)
    start: str | None = None
    target: str | None = None
    layer: str | None = None
    neurons: Any = None


@dataclass(frozen=True)
class Statistics:
    """How figures are tested.

    Parameters
    ----------
    permutations : int
        Rearrangements of a permutation test.
    replicates : int
        Of a bootstrap.
    level : float
        Coverage of intervals.
    top : int
        Regions whose overlap is counted.
    seed : int
        Of both.
    """

    permutations: int = 9999
    replicates: int = 2000
    level: float = 0.95
    top: int = 10
    seed: int = 0

    def bootstrap(self) -> Values:
        """Return the options of `neuroxai.statistics.bootstrap` and what goes by it."""
        return {"level": self.level, "replicates": self.replicates, "seed": self.seed}


@dataclass(frozen=True)
class Study:
    """A whole study.

    Parameters
    ----------
    name, title, paper, about : str
        Identifier, heading, citation, and what is asked and how.
    analysis : str
        What is made of the runs, a name of `neuroxai.studies.analyses`.
    bundle : str
        Name of a bundle beside the package, or its folder.
    cohorts : dict of str to CohortSource
        By name.
    arms : dict of str to Arm
        By name, in the order of tables.
    split, search, statistics
        See there.
    repetitions : int
        Trainings of each arm and split, by seed.
    seed : int
        Of the first repetition.
    settings : dict
        Overrides of the bundle's ``train.json`` for all arms.
    parts : list of str
        Parts of a split that are predicted and explained.
    explain : dict of str to Explanation
        By a name that tables use.
    atlases : list of str
        Names (`neuroxai atlas list`) or label images.
    options : dict
        Of the analysis.
    processes : int
        Of each training: above 1 it runs under torchrun.
    threads : int
        Of each process; the last bits of results depend on it.
    published : list of dict
        The paper's figures, to stand beside ours: quantity, value, and what of low, high, unit, note is known.
    """

    name: str
    title: str
    analysis: str
    bundle: str
    cohorts: dict[str, CohortSource]
    arms: dict[str, Arm]
    paper: str = ""
    about: str = ""
    split: Split = field(default_factory=Split)
    search: Search = field(default_factory=Search)
    statistics: Statistics = field(default_factory=Statistics)
    repetitions: int = 1
    seed: int = 0
    settings: Values = field(default_factory=dict)
    parts: list[str] = field(default_factory=lambda: ["test"])
    explain: dict[str, Explanation] = field(default_factory=dict)
    atlases: list[str] = field(default_factory=lambda: ["builtin"])
    options: Values = field(default_factory=dict)
    processes: int = 1
    threads: int = 1
    published: list[Values] = field(default_factory=list)
