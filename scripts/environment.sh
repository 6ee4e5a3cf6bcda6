# Sourced by the scripts beside it: makes the Python environments they run in.
# shellcheck shell=bash
#
#   .venv                 scripts/check, scripts/docs   editable, with every developer's tool
#   .venv-test-newest     scripts/test                  the wheel, newest dask
#   .venv-test-oldest     scripts/test --dask oldest    the wheel, the oldest dask that pyproject.toml allows
#   .venv-demo            scripts/demo                  the wheel, nothing else
#
# An environment is made once, and again when what it depends on has changed: its stamp holds a
# hash of pyproject.toml, the interpreter and what was asked for.
# PYTHON names the interpreter to make them with (default: python3).

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
base_python=${PYTHON:-python3}

# Python code that the caller happens to have on its path is not part of what is tested.
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

fail() {
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

say() {
    printf '== %s\n' "$*" >&2
}

# Debian keeps ensurepip, which a new environment gets its pip from, in a package of its own.
require_python() {
    command -v -- "$base_python" >/dev/null || {
        if [[ -n ${PYTHON:-} ]]; then
            fail "there is no interpreter '$PYTHON'; set PYTHON to Python 3.11 or newer"
        fi
        apt_install python3 python3-venv
    }
    "$base_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "'$base_python' is $("$base_python" --version 2>&1); daskflow needs Python 3.11 or newer (set PYTHON)"
    "$base_python" -c 'import ensurepip, venv' 2>/dev/null ||
        apt_install "$("$base_python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    "$base_python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "'$base_python' still cannot make environments: its modules venv and ensurepip are missing"
}

# apt_install PACKAGE...: as root, or through sudo where that asks no password; otherwise say what to do.
apt_install() {
    local by_hand="apt-get install $*" as_root=() install
    command -v apt-get >/dev/null ||
        fail "Python's module venv is missing. On Debian: $by_hand. Elsewhere: install its like. Then run this again."
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null ||
            fail "a Debian package is missing. As root, run: $by_hand. Then run this again."
        as_root=(sudo -n)
    fi
    install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get install -y -q --no-install-recommends "$@")
    say "$by_hand"
    # The usual reason for a first failure is a package list that is missing or out of date.
    "${install[@]}" >&2 </dev/null ||
        { "${as_root[@]}" apt-get update -q >&2 && "${install[@]}" >&2 </dev/null; } ||
        fail "could not install $*. As root, run: apt-get update && $by_hand. Then run this again."
}

# make_environment FOLDER PIP-ARGUMENT...
# Sets $python to the interpreter of the environment, with what the arguments name installed.
make_environment() {
    local folder=$root/$1 stamp
    shift
    python=$folder/bin/python
    require_python
    stamp=$({
        "$base_python" -c 'import sys; print(sys.version, sys.base_prefix)'
        printf '%s\n' "$folder" "$@"
        cat -- "$root/pyproject.toml"
    } | sha256sum)
    if [[ -f $folder/stamp && $(<"$folder/stamp") == "$stamp" ]]; then
        return
    fi
    say "making ${folder##*/}"
    "$base_python" -m venv --clear -- "$folder"
    (cd -- "$root" && "$python" -m pip install --quiet "$@") >&2
    printf '%s\n' "$stamp" >"$folder/stamp"
}

# make_wheel_environment FOLDER EXTRAS PIP-ARGUMENT...
# As make_environment; and builds the wheel of this source tree, and makes it the daskflow of that environment.
make_wheel_environment() {
    local folder=$1 extras=$2 wheels=$root/$1/wheel installed
    shift 2
    make_environment "$folder" hatchling ".$extras" "$@"
    say "building and installing the wheel"
    rm -rf -- "$wheels"
    "$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$wheels" "$root" >&2
    "$python" -m pip install --quiet --no-deps --force-reinstall "$wheels"/daskflow-*.whl >&2
    installed=$(cd -- "$wheels" && "$python" -P -c 'import daskflow; print(daskflow.__file__)')
    [[ $installed == "$root/$folder"/lib/* ]] ||
        fail "the daskflow that would run is $installed, not the wheel's"
}
