"""Who is in a cohort: class, sex and age, so that ids, sex and age do not tell the class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Person:
    """One participant: id, class, sex and age in years, and the number that seeds the scan."""

    participant_id: str
    number: int
    patient: bool
    sex: str | None
    age: float | None


def draw_people(count: int, seed: int, ages: tuple[float, float, float, float]) -> list[Person]:
    """Draw participants in pairs: a patient and a control of one sex and nearly one age, in random order.

    Two pairs after each other are of the two sexes in random order. A pair depends on the seed and its place only,
    so that a person is the same in a cohort of any size.

    Parameters
    ----------
    count : int
        Participants; where odd, the last pair lacks one.
    seed : int
        The cohort's seed.
    ages : tuple of float
        Mean, standard deviation, lowest and highest age in years.
    """
    mean, spread, low, high = ages
    people: list[Person] = []
    for four in range((count + 3) // 4):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, four)))
        for sex in rng.permutation(["F", "M"]):
            age = rng.normal(mean, spread)
            for patient in rng.permutation([False, True]):
                own = float(np.clip(age + rng.uniform(-1.5, 1.5), low, high))
                number = len(people) + 1
                people.append(Person(f"sub-{number:04d}", number, bool(patient), str(sex), round(own, 1)))
    return people[:count]
