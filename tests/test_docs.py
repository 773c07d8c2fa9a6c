"""Commands printed in the documentation exist, with their options; links lead somewhere; Python sessions run."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from pathlib import Path

import pytest

from helpers.bundles import AD
from helpers.command import whole_command
from helpers.snippets import pages

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = list(pages().values())


def shell_lines(page):
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_commands_and_options_exist(page):
    commands = whole_command().commands
    for words in shell_lines(page):
        if words[:1] == ["neuroxai"] and words[1].startswith("-"):
            assert words[1] in {"--help", "--version", "-V", "--install-completion", "--show-completion"}, words
        elif words[:1] == ["neuroxai"]:
            assert words[1] in commands, f"{page.name}: no command {words[1]}"
            command = commands[words[1]]
            if hasattr(command, "commands"):
                assert words[2] in command.commands, f"{page.name}: no command {words[1]} {words[2]}"
                command = command.commands[words[2]]
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
            unknown = [w for w in words[2:] if w.startswith("-") and w not in known]
            if words[1] == "train":  # hands on what the bundle's training takes
                known = json.loads((AD / "configs" / "train.json").read_text())
                unknown = [word for word in unknown if word[2:] not in known]
            assert not unknown, f"{page.name}: neuroxai {words[1]} has no {unknown}"
        elif words[:2] == ["bash", "scripts/quickstart.sh"] or words[:2] == ["bash", "scripts/test.sh"]:
            assert (REPOSITORY / words[1]).is_file()
        elif "monai.bundle" in words:
            arguments = words[words.index("monai.bundle") + 1 :]
            if arguments[0] == "run":  # the other sub-commands' options are MONAI's own
                files = re.findall(r"configs/\w+\.json", " ".join(arguments))
                bundle = page.parents[1] if page.parent.name == "docs" and page.parents[1] != REPOSITORY else AD
                config = {key for name in files for key in json.loads((bundle / name).read_text())}
                unknown = [w for w in arguments if w.startswith("--") and w[2:] not in config | {"config_file"}]
                assert not unknown, f"{page.name}: {files} have no {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target} is absent"


SESSIONS = re.compile(r"```python\n(>>> .*?)```", flags=re.DOTALL)


def python_session(page):
    """Return a page with everything but its ``>>>`` blocks blanked out; line numbers stay."""
    text = page.read_text()
    inside = {n for block in SESSIONS.finditer(text) for n in range(block.start(1), block.end(1))}
    return "".join(c if n in inside or c == "\n" else " " for n, c in enumerate(text))


@pytest.mark.parametrize(
    "page", [p for p in PAGES if SESSIONS.search(p.read_text())], ids=lambda p: str(p.relative_to(REPOSITORY))
)
def test_python_sessions_run_and_print_what_they_say(page):
    test = doctest.DocTestParser().get_doctest(python_session(page), {}, page.name, str(page), 0)
    report = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.FAIL_FAST
    doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    assert test.examples
    assert not report, "".join(report)


def test_what_contributing_names_is_there():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:neuroxai|tests|scripts|docs)/[\w./]+)`", text)
    assert len(named) > 30
    assert not [name for name in named if "NAME" not in name and not (REPOSITORY / name).exists()]
