"""Recompute a trust card's claims from the tables that `neuroxai trust` wrote, without neuroxai.

    python scripts/experiments/trust_check.py card

For each method: how often an affected region was ranked first, how many of the ten regions that the networks use most
are among its ten highest, and how well the sums of its maps agree with what they claim to add up to; here from the
tables, and as the card says. Ends with code 1 where they differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd


def recomputed(folder: Path) -> Iterator[tuple[str, str, float, float]]:
    """Yield method, measure, the figure from the tables, and the card's."""
    place = folder / "study" / "measured" / "repeats_split-0"
    planted = pd.read_csv(place / "people.tsv", sep="\t").set_index(["scan", "region"])["planted"]
    for name, one in json.loads((folder / "trust.json").read_text())["methods"].items():
        if one["not_applicable"]:
            continue
        file = "".join(c if c.isalnum() or c in "_-" else "-" for c in name)
        scores = pd.read_csv(place / f"{file}_regions.tsv", sep="\t").query("kind == 'patient'")
        tops = scores.loc[scores.groupby(["model", "scan"])["contrast"].idxmax()]
        first = planted.loc[list(zip(tops["scan"], tops["region"], strict=True))].mean()
        yield name, "region_first", float(first), one["repeats"]["region_first"]["value"]
        if (place / "effects.tsv").is_file():
            both = scores.merge(pd.read_csv(place / "effects.tsv", sep="\t"), on=["model", "scan", "kind", "region"])
            shares = [
                len({*own.nlargest(10, "sum")["region"]} & {*own.nlargest(10, "effect")["region"]}) / 10
                for _, own in both.groupby(["model", "scan"])
            ]
            yield name, "swap_overlap", sum(shares) / len(shares), one["repeats"]["swap_overlap"]["value"]
        values = pd.read_csv(place / f"{file}_values.tsv", sep="\t")
        if "map_claim" in values:
            added, claimed = values["map_sum"], values["map_claim"]
            gap = (added - claimed).abs().sum() / (added.abs() + claimed.abs()).sum()
            yield name, "conservation", float(1 - gap), one["repeats"]["conservation"]["value"]


def main(folder: Path) -> int:
    """Print the figures side by side."""
    wrong = 0
    for name, measure, ours, theirs in recomputed(folder):
        wrong += abs(ours - theirs) > 1e-8  # tables hold eight digits, and shares of three trainings have more
        print(f"{name:<40} {measure:<14} {ours:.4f} {theirs:.4f}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
