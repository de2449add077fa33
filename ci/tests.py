#!/usr/bin/env python3
"""Prints the names of the library's test targets.

Usage: ci/tests.py with FEATURES: those that are built with these features (`tokio,rayon`, or `all`).
       ci/tests.py of FEATURE: those that mention the feature, and are built with it alone.
"""

import json
import pathlib
import subprocess
import sys


def library():
    """What cargo knows of the package."""
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return next(package for package in metadata["packages"] if package["name"] == "aiocontextvars")


def implied(features, known):
    """The features that these turn on, themselves included."""
    reached, left = set(), list(features)
    while left:
        name = left.pop()
        if name in known and name not in reached:
            reached.add(name)
            left += known[name]
    return reached


def mentions(target, feature):
    """Whether a test says anything of the feature."""
    source = pathlib.Path(target["src_path"])
    files = source.parent.rglob("*.rs") if source.name == "main.rs" else [source]
    return any(f'feature = "{feature}"' in file.read_text() for file in files)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("with", "of"):
        sys.exit(__doc__)
    question, features = sys.argv[1:]
    package = library()
    known = package["features"]
    if question == "of":
        asked = [features]
    else:
        asked = list(known) if features == "all" else features.split(",")
    for name in asked:
        if name not in known:
            sys.exit(f"tests.py: the library has no feature {name}")
    has = implied(asked, known)
    for target in package["targets"]:
        required = set(target.get("required-features", []))
        if target["kind"] != ["test"] or not required <= has:
            continue
        if question == "with" or required or mentions(target, features):
            print(target["name"])


if __name__ == "__main__":
    main()
