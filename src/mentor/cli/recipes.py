"""``mentor recipes``: lists the training recipes, or prints one."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the main parser."""
    parser = subparsers.add_parser(
        "recipes", help="list the recipes", description="List the training recipes, or print one."
    )
    parser.add_argument("recipe", nargs="?", help="print this recipe: its header and all its values")
    parser.add_argument("--plain", action="store_true", help="names only, one a line")


def run(args: argparse.Namespace) -> int:
    """Prints; raises ValueError for an unknown recipe."""
    from mentor.config.load import to_dict
    from mentor.config.recipes import load_recipe, recipe_header, recipe_names

    if args.recipe:
        import yaml

        # A recipe as well: its header stays a comment.
        print("\n".join(f"# {line}".rstrip() for line in recipe_header(args.recipe).splitlines()) + "\n")
        values = to_dict(load_recipe(args.recipe))
        # The length as the recipe has it: steps would stay as they are when a copy's batch changes.
        del values["schedule"]["samples" if values["schedule"]["samples"] is None else "steps"]
        print(yaml.safe_dump(values, sort_keys=False), end="")
        return 0
    names = recipe_names()
    if args.plain:
        print("\n".join(names))
        return 0
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {recipe_header(name).splitlines()[0]}")
    return 0
