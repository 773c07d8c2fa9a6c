"""The page of all commands, from the command line itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "generated" / "commands.md"


def page() -> str:
    """Return the page in Markdown: each command with its help, arguments and options."""
    import typer

    from neuroxai.cli import bidsapp
    from neuroxai.cli.main import app

    lines = [
        "# Commands",
        "",
        "Made from `neuroxai --help` and its like. Exit codes: 0 done, 1 some items failed (named), ",
    ]
    lines += ["2 input that cannot be used.", ""]
    top = typer.main.get_command(app)
    found = [(f"neuroxai {name}", command) for name, command in sorted(top.commands.items())]  # type: ignore[attr-defined]
    for program, command in [*found, ("neuroxai-bidsapp", typer.main.get_command(bidsapp.app))]:
        for words, one in _all(program, command):
            lines += [f"## {words}", "", (one.help or "").strip(), ""]
            rows = [_row(parameter) for parameter in one.params if not getattr(parameter, "hidden", False)]
            if rows:
                lines += ["| argument or option | meaning | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _all(words: str, command: Any) -> list[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        return [(words, command)]
    return [pair for name, one in sorted(command.commands.items()) for pair in _all(f"{words} {name}", one)]


def _row(parameter: Any) -> str:
    option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if not option:
        names = f"`{parameter.name.upper()}`"
    default = parameter.default
    shown = "" if default is None or callable(default) or default == [] else f"`{default}`"
    text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    return f"| {names} | {text} | {shown if option else ('needed' if parameter.required else '')} |"


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""

    def write(app: Any, config: Any) -> None:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(), encoding="utf-8")

    app.connect("config-inited", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
