"""What the page of messages prints is what the code says."""

import re

from helpers.snippets import REPOSITORY
from neuroxai import errors

PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \| `(\w+)` \|", PAGE, flags=re.MULTILINE)


def said():
    """All strings of the package, those that run over several lines joined."""
    text = "\n".join(file.read_text() for file in (REPOSITORY / "neuroxai").rglob("*.py"))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_every_message_is_one_of_the_package_s_and_of_its_class():
    strings = said()
    assert len(ROWS) > 10
    for message, name in ROWS:
        assert message in strings, message
        assert issubclass(getattr(errors, name), errors.NeuroxaiError)
