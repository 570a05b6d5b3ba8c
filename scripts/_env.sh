# shellcheck shell=bash
# Shared by scripts/run and scripts/test: brings Python and the virtual environment of the checkout up to date.
# Sourced, never run. Sets: checkout (the project's folder), venv (its virtual environment).

checkout=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
venv=$checkout/.venv

# fail WHAT WAY_OUT: one line for the person at the terminal, exit code 2.
fail() {
    printf 'error: %s; do %s\n' "$1" "$2" >&2
    exit 2
}

# apt_install PACKAGE...: installs Debian packages quietly; refreshes apt's lists only when it has to.
apt_install() {
    local log
    command -v apt-get >/dev/null || fail "$* is missing and this machine has no apt-get" "install it and start again"
    [ "$(id -u)" = 0 ] || fail "$* is missing and installing it needs root" "run as root, or: apt-get install $*"
    echo "installing $* ..." >&2
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    if ! apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1; then
        # A repository that is not ours may fail to refresh: what counts is whether the packages install.
        apt-get update -qq >"$log" 2>&1 || true
        apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 ||
            fail "apt-get cannot install $* ($(grep '^E:' "$log" | tail -n 1))" \
                "check the network and the package sources, then start again"
    fi
    rm -f "$log"
}

# usable_python COMMAND: is it a Python that the package supports, with what a virtual environment needs?
usable_python() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null
}

# find_python: prints the first usable Python; returns 1 when there is none.
find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.14; do
        if command -v "$candidate" >/dev/null && usable_python "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# ensure_python: prints a usable Python, installing Debian's if there is none.
ensure_python() {
    if ! find_python; then
        apt_install python3 python3-venv >&2
        find_python || fail "no Python from 3.11 to 3.14 with venv and ensurepip was found" \
            "install python3 and python3-venv (Debian 12 or 13 have them)"
    fi
}

# ensure_venv run|dev: a virtual environment with the package (editable) and, for dev, the tools of scripts/test.
# A stamp inside it says what it was made from, so that the next start costs nothing.
ensure_venv() {
    local kind=$1 want log python target=$checkout
    # The checkout's path is part of it: an editable installation points there.
    want=$( (sha256sum <"$checkout/pyproject.toml"; echo "$checkout") | sha256sum | cut -d' ' -f1)
    if venv_is_current "$want" "$kind"; then return 0; fi
    python=$(ensure_python) || exit 2
    # Two first starts at once must not build it twice. The lock is on a file that is there anyway.
    exec 9<"$checkout/pyproject.toml"
    flock 9
    if ! venv_is_current "$want" "$kind"; then
        echo "installing the Python packages into $venv ..." >&2
        [ "$kind" = run ] || target="$checkout[dev]"
        log=$(mktemp)
        rm -f "$venv/.made-from"
        usable_python "$venv/bin/python" || "$python" -m venv --clear "$venv" >"$log" 2>&1 ||
            fail "the virtual environment $venv cannot be made ($(tail -n 1 "$log"))" \
                "check that the folder is writable, or: apt-get install python3-venv"
        "$venv/bin/python" -m pip install --quiet --editable "$target" >"$log" 2>&1 ||
            fail "pip cannot install the Python packages ($(grep -i 'error' "$log" | tail -n 1))" \
                "check the network and pip's configuration, then start again"
        rm -f "$log"
        echo "$want $kind" >"$venv/.made-from"
    fi
    exec 9<&-
}

# venv_is_current HASH KIND: was the environment made from this pyproject.toml, with at least these packages?
venv_is_current() {
    local hash kind
    [ -x "$venv/bin/python" ] && [ -r "$venv/.made-from" ] || return 1
    read -r hash kind <"$venv/.made-from"
    [ "$hash" = "$1" ] && { [ "$kind" = dev ] || [ "$kind" = "$2" ]; } && "$venv/bin/python" -c ''
}
