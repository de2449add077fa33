#!/usr/bin/env bash
# Python's context variables and ours together: builds the module of `crates/recipes-python` and runs its tests in the
# machine's Python.
set -euo pipefail

python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    { echo "skipped: no python3 of version 3.10 or later"; exit 0; }

cargo build --quiet -p recipes-python
modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT
case $(uname) in
    Darwin) library=librecipes_python.dylib ;;
    *) library=librecipes_python.so ;;
esac
cp "${CARGO_TARGET_DIR:-target}/debug/$library" "$modules/recipes_python.so"
# Development mode: warnings, and checks of what asyncio is given.
PYTHONPATH=$modules PYTHONDONTWRITEBYTECODE=1 python3 -X dev crates/recipes-python/test.py
