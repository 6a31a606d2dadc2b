#!/bin/sh
# Makes .venv ready: `sh tools/setup.sh cli` to run the command, `sh tools/setup.sh dev` to work on the project.
# An existing .venv is used as it is; PYTHON=… names the interpreter for a new one.
set -eu
cd "$(dirname "$0")/.."
extra=${1:-dev}
venv=.venv

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    [ -z "${PYTHON:-}" ] || new_enough "$PYTHON" || {
        echo "PYTHON=$PYTHON is no Python 3.11 or newer; looking for another." >&2
    }
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer was found. Install one, or say where it is: make PYTHON=/path/to/python3 run" >&2
    return 1
}

create() {
    python=$(find_python)
    if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        "$python" -m venv "$venv"
    elif "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv --quiet "$venv" # Debian ships venv apart from Python
    else
        echo "This Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2
        return 1
    fi
}

if [ ! -e "$venv" ] && [ ! -L "$venv" ]; then
    echo "Making $venv (once; the first install takes a minute) ..." >&2
    create || { rm -rf "$venv"; exit 1; }
elif ! new_enough "$venv/bin/python"; then
    echo "$venv is there, but holds no working Python 3.11 or newer. Remove it and run the same command again." >&2
    exit 1
fi
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null || {
    echo "$venv has no pip. Remove it and run the same command again." >&2
    exit 1
}
echo "Installing spaceactors[$extra] into $venv ..." >&2
install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore "$@" \
        --editable ".[$extra]"
}
# The pinned versions are those the project was last checked with; an index without one of them is no reason to stop.
install --constraint constraints.txt || {
    echo "Not all pinned versions are to be had here; taking the newest that fit." >&2
    install
}
touch "$venv/.ready-cli" "$venv/.ready-$extra" # dev holds all that cli holds
