#!/usr/bin/env bash
# Round trips of baggage with a Python service that uses opentelemetry-python, which is installed into a temporary folder.
# Says so and succeeds where that cannot be had.
set -euo pipefail

command -v python3 >/dev/null || { echo "skipped: no Python"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python" >/dev/null 2>&1 || { echo "skipped: Python has no venv"; exit 0; }
"$folder/python/bin/pip" install --quiet --disable-pip-version-check opentelemetry-api==1.45.2 ||
    { echo "skipped: opentelemetry-api cannot be installed"; exit 0; }

PYTHON_WITH_OPENTELEMETRY=$folder/python/bin/python cargo test --quiet -p recipes --test opentelemetry_python -- --ignored
