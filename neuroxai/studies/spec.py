"""What a study is: a declaration of cohorts, arms, repetitions, settings, explanations and statistics.

Keys, types and ranges are pydantic's to check, all at once; `neuroxai.studies.check` looks at what the values name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, Strict, WrapValidator
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

# nothing is converted: 1 is no flag and "3" no number
Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Field(ge=1, le=100_000)]
Many = Annotated[int, Strict(), Field(ge=1, le=10_000_000)]
Seed = Annotated[int, Strict(), Field(ge=0, le=2**32 - 1)]
Share = Annotated[float, Strict(), Field(gt=0, le=1, allow_inf_nan=False)]
Values = dict[str, Any]
Options = dict[Text, Any]
Name = Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]

_CONFIG = ConfigDict(extra="forbid")


def _two_classes(classes: list[str]) -> list[str]:
    if len(classes) != 2 or len(set(classes)) != 2:
        raise ValueError("two different classes, the patients' last")
    return classes


def _three_shares(fractions: list[float]) -> list[float]:
    if len(fractions) != 3:
        raise ValueError("three shares: training, validation, test")
    return fractions


def _between(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError("a share between 0 and 1, such as 0.95 for 95 %")
    return level


def _as_given(value: Any, check: Callable[[Any], float]) -> Any:
    """Keep 2 as 2, where 2.0 would be another text in records and pages."""
    check(value)
    return value


class Simulated(TypedDict, total=False):
    """Options of `neuroxai simulate`; effect, subjects and spacing are needed where there are any."""

    __pydantic_config__ = _CONFIG  # type: ignore[misc]  # pydantic's way to give a TypedDict options

    effect: Literal["atrophy", "lesions"]
    subjects: Annotated[int, Strict(), Field(ge=2, le=100_000)]
    spacing: Annotated[float, Strict(), Field(ge=0.5, le=16), WrapValidator(_as_given)]
    seed: Seed
    misalign: Flag
    raw: Flag


@dataclass(frozen=True, config=_CONFIG)
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

    simulate: Simulated = field(default_factory=Simulated)
    path: Text | None = None
    target: Text = "diagnosis"
    classes: Annotated[list[Text], AfterValidator(_two_classes)] = field(default_factory=lambda: ["CN", "AD"])
    suffix: Text | None = None
    desc: Text | None = None
    run: Text | None = None
    lesions: Text | None = None


@dataclass(frozen=True, config=_CONFIG)
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

    fractions: Annotated[list[Share], AfterValidator(_three_shares)] = field(default_factory=lambda: [0.6, 0.2, 0.2])
    repeats: Count = 1
    seed: Seed = 0
    match: Flag = False
    test_sessions: Literal["all", "first"] = "all"
    age_bins: Whole = 4


@dataclass(frozen=True, config=_CONFIG)
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

    cohort: Text = "main"
    bundle: Text | None = None
    settings: Options = field(default_factory=dict)
    prepare: Options = field(default_factory=dict)
    fill_lesions: Text | None = None
    pretrained: Text | None = None
    train: Flag = True
    share: Share = 1.0
    search: Options = field(default_factory=dict)
    explain: Flag = True


@dataclass(frozen=True, config=_CONFIG)
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

    draws: Annotated[int, Strict(), Field(ge=0, le=100_000)] = 0
    sampler: Literal["random", "tpe"] = "random"
    space: Options = field(default_factory=dict)
    first: list[Options] = field(default_factory=list)
    seed: Seed = 0


@dataclass(frozen=True, config=_CONFIG)
class Explanation:
    """One way to explain a network.

    Parameters
    ----------
    method : str
        A name of `neuroxai.attribution.names()`.
    options : dict
        The method's options.
    start : str
        Where relevance starts: logit or probability (the default).
    target : str
        Class to explain; by default the last.
    layer : str
        Begin at this hidden layer instead of a class.
    neurons : "all" or list
        Filters of `layer`, each explained by itself; by default all of the layer at once.
    """

    method: Text
    options: Options = field(default_factory=dict)
    start: Literal["logit", "probability"] | None = None
    target: Text | None = None
    layer: Text | None = None
    neurons: Any = None


@dataclass(frozen=True, config=_CONFIG)
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

    permutations: Many = 9999
    replicates: Many = 2000
    level: Annotated[float, Strict(), AfterValidator(_between)] = 0.95
    top: Count = 10
    seed: Seed = 0

    def bootstrap(self) -> Values:
        """Return the options of `neuroxai.statistics.bootstrap` and what goes by it."""
        return {"level": self.level, "replicates": self.replicates, "seed": self.seed}


@dataclass(frozen=True, config=_CONFIG)
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

    name: Text
    title: Text
    analysis: Text
    bundle: Text
    cohorts: dict[Name, CohortSource]
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    paper: Text = ""
    about: Text = ""
    split: Split = field(default_factory=Split)
    search: Search = field(default_factory=Search)
    statistics: Statistics = field(default_factory=Statistics)
    repetitions: Count = 1
    seed: Seed = 0
    settings: Options = field(default_factory=dict)
    parts: list[Literal["training", "validation", "test"]] = field(default_factory=lambda: ["test"])
    explain: dict[Name, Explanation] = field(default_factory=dict)
    atlases: list[Text] = field(default_factory=lambda: ["builtin"])
    options: Options = field(default_factory=dict)
    processes: Count = 1
    threads: Count = 1
    published: list[Options] = field(default_factory=list)
