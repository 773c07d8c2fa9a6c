from helpers.explained import write_tables
from neuroxai.compare import Settings, build_comparison


def test_a_comparison_says_what_it_found(tmp_path):
    done = build_comparison(
        write_tables(tmp_path), tmp_path / "out", settings=Settings(permutations=99, replicates=100, measure="sum")
    )
    number = len(done.record.findings["regions_false_discovery"])
    assert number >= 2  # in regions 0 and 1 patients have more
    assert repr(done) == (
        f"Comparison(12 AD against 14 CN: {number} of {done.record.regions} regions differ, 5 % false discoveries; "
        f"{tmp_path / 'out'})"
    )
