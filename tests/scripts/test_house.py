"""The measure of the house finds what breaks its rules, in a package made for it."""

from __future__ import annotations

import house


def planted(folder):
    root = folder / "planted_house"
    for room in ("one", "one/inner", "two"):
        (root / room).mkdir(parents=True)
        (root / room / "__init__.py").touch()
    (root / "__init__.py").touch()
    (root / "one" / "names.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import planted_house.two.other\n"
    )
    (root / "one" / "inner" / "names.py").touch()
    (root / "two" / "other.py").write_text(
        "import planted_house.one.names\n"
        "class Public:\n    def __init__(self, a, b, c, d): ...\n    def method(self, a, b, c): ...\n"
        "class _Private:\n    def __init__(self, a, b, c, d): ...\n"
        "def short(a, b): ...\n"
        "@app.command()\ndef command(a, b, c, d): ...\n"
    )
    return root


def test_a_circle_by_types_a_name_twice_and_long_lists_are_found(tmp_path, monkeypatch, capsys):
    root = planted(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(house, "PACKAGE", root)
    monkeypatch.setattr("sys.argv", ["house.py", "--parameters", "2", "--lines", "5"])
    house.main()
    text = capsys.readouterr().out
    assert "| two | 2 | 9 | 9 | 9 |" in text
    assert "import circles: 1\n  planted_house.one.names, planted_house.two.other\n" in text
    assert "in a room: 1\n  one/names.py\n" in text
    assert "more than 5 lines: 1\n  planted_house/two/other.py 9\n" in text
    assert text.endswith(
        "more than 2 parameters: 2\n"
        "  4 planted_house.two.other._Private.__init__\n  3 planted_house.two.other.Public.method\n"
    )
