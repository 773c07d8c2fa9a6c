"""Measure the house: modules, lines, import circles, file names that stand twice in a room, long parameter lists.

Prints a markdown table, one row per room, and under it what breaks a rule: circles (imports under TYPE_CHECKING count),
names that stand twice in a room, functions with many parameters (constructors of public classes aside)::

    python scripts/house.py
    python scripts/house.py --parameters 8 --lines 350
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import grimp

PACKAGE = Path(__file__).resolve().parent.parent / "neuroxai"


def circles(package: str) -> list[list[str]]:
    """Return the groups of modules that import each other, each sorted (Tarjan's strongly connected components)."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=False, cache_dir=None)
    reached: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        reached[module] = lowest[module] = len(reached)
        stack.append(module)
        for other in sorted(graph.find_modules_directly_imported_by(module)):
            if other not in reached:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == reached[module]:
            group = stack[stack.index(module) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(graph.modules):
        if module not in reached:
            visit(module)
    return found


def long_lists(path: Path, most: int) -> Iterator[tuple[int, str]]:
    """Return the functions of a module that take more than `most` parameters, with their number."""

    def walk(node: ast.AST, owner: str) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                taken = [a.arg for a in (*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs)]
                number = len([name for name in taken if name not in ("self", "cls")])
                constructor = child.name == "__init__" and not owner.rpartition(".")[2].startswith("_")
                if number > most and not constructor and not _is_command(child):
                    yield number, f"{owner}.{child.name}"
                yield from walk(child, f"{owner}.{child.name}")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{owner}.{child.name}")

    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    yield from walk(ast.parse(path.read_text()), name)


def _is_command(function: ast.FunctionDef) -> bool:
    """Whether typer makes a command of it, whose parameters are the command's options."""
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=8, help="the most parameters a function may take")
    parser.add_argument("--lines", type=int, default=350, help="the most lines a module may have")
    options = parser.parse_args()

    rooms: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        rooms[inside.parts[0] if len(inside.parts) > 1 else "(top)"].append(path)
    size = {path: len(path.read_text().splitlines()) for paths in rooms.values() for path in paths}

    print("| room | modules | lines | median | longest |\n|---|---|---|---|---|")
    for room, paths in [*sorted(rooms.items()), ("all", list(size))]:
        sizes = sorted(size[path] for path in paths)
        print(f"| {room} | {len(paths)} | {sum(sizes)} | {sizes[len(sizes) // 2]} | {sizes[-1]} |")

    groups = circles(PACKAGE.name)
    print(f"\nimport circles: {len(groups)}")
    for group in groups:
        print("  " + ", ".join(group))
    twice = [
        f"{room}/{name}"
        for room, paths in rooms.items()
        for name, number in Counter(path.name for path in paths if not path.name.startswith("__")).items()
        if number > 1
    ]
    print(f"file names that stand twice in a room: {len(twice)}" + "".join(f"\n  {name}" for name in twice))
    large = [f"{path.relative_to(PACKAGE.parent)} {n}" for path, n in size.items() if n > options.lines]
    print(f"modules of more than {options.lines} lines: {len(large)}" + "".join(f"\n  {name}" for name in large))
    many = sorted((found for path in size for found in long_lists(path, options.parameters)), reverse=True)
    print(f"functions of more than {options.parameters} parameters: {len(many)}")
    for number, name in many:
        print(f"  {number} {name}")


if __name__ == "__main__":
    main()
