"""HTML pages that stand alone. Pure: same values, same text; nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from neuroxai.canvas import COLOURS
from neuroxai.pictures.text import number, percent


def rendered(package: str, template: str, values: Any, scripts: Sequence[str] = (), **more: Any) -> str:
    """Fill a template of a package; the page's policy lets the scripts named run, by their checksums, and nothing else.

    Parameters
    ----------
    package : str
        Whose ``templates`` folder is searched, before that of this package.
    template : str
        File name.
    values : object
        ``page`` in the template; all text is escaped.
    scripts : sequence of str
        File names.
    """
    import markupsafe

    environment = _environment(package)
    texts = [environment.loader.get_source(environment, name)[0] for name in scripts]
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return str(
        environment.get_template(template).render(
            page=values,
            colours=COLOURS,
            # our own files, not data
            scripts=[markupsafe.Markup(text) for text in texts],  # noqa: S704
            policy=" ".join(f"'sha256-{one}'" for one in sums),
            **more,
        )
    )


def data_uri(picture: bytes, form: str = "png") -> str:
    """Return a picture as a data URI, so that the page needs no other file."""
    return f"data:image/{form};base64," + base64.b64encode(picture).decode("ascii")


@cache
def _environment(package: str) -> Any:
    import jinja2

    places = dict.fromkeys([package, "neuroxai.pictures"])
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(place) for place in places]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_unbroken,
    )
    environment.filters.update(number=number, percent=percent, data_uri=data_uri)
    return environment


def _unbroken(value: Any) -> Any:
    """Keep a percent sign on the line of its figure."""
    return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value
