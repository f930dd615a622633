#!/bin/sh
# Make a virtual environment with pip in it. Debian ships `python3` without `ensurepip`; where that is so and we may
# install packages, get it, otherwise say what to install.
set -eu
"$PYTHON" - <<'PY' || { echo "dosecalc needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 2; }
import sys
sys.exit(sys.version_info < (3, 11))
PY
rm -rf "$VENV"
if "$PYTHON" -m venv "$VENV" >/dev/null 2>&1; then exit 0; fi
rm -rf "$VENV"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "python3-venv is missing: installing it with apt-get"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    exec "$PYTHON" -m venv "$VENV"
fi
echo "cannot make a virtual environment: install the package python3-venv (apt-get install python3-venv) and run make again" >&2
exit 2
