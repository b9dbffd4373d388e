# What the scripts share: help, and the environment that they run in. Sourced, never run: `. "$(dirname "$0")/lib.sh"`.
# VENV (default .venv) is where the environment is made; PYTHON names an interpreter to make it with.
set -eu
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# The leading comment of a script is its help.
case ${1:-} in -h | --help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"; exit 0 ;; esac

new_enough() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

# Prints the newest Python that is not too old and can make environments. Where Debian keeps that apart, root installs it.
find_python() {
    for python in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if new_enough "$python" && "$python" -c 'import venv, ensurepip' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        new_enough "$python" || continue
        package=$(basename "$python")-venv
        [ "$(id -u)" = 0 ] || die "Python cannot make environments here; type: sudo apt-get install -y $package"
        say "Installing $package"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get install -y "$package" || { apt-get update && apt-get install -y "$package"; }; } >"$VENV.log" 2>&1 </dev/null ||
            die "could not install $package (see $VENV.log); type: apt-get update && apt-get install -y $package"
        echo "$python"
        return
    done
    die "needs Python 3.11, 3.12 or 3.13; type: sudo apt-get install -y python3 python3-venv"
}

# is_ready requirements.txt: whether VENV holds what that file names. $VENV.making is there while it is being made.
is_ready() {
    [ ! -e "$VENV.making" ] && [ "$(cat "$VENV/$1.stamp" 2>/dev/null)" = "$(cksum <"$1")" ] && "$VENV/bin/python" -c '' 2>/dev/null
}

# environment requirements.txt|requirements-dev.txt: makes VENV hold what that file names, anew where it was left half made or
# its Python is gone.
environment() {
    is_ready "$1" && return
    mkdir -p "$VENV" 2>/dev/null && [ -w "$VENV" ] && { true >"$VENV.log"; } 2>/dev/null ||
        die "$(id -un) cannot write $VENV in $PWD; start again in a copy that is yours, or with VENV=/a/folder/of/yours"
    if command -v flock >/dev/null; then # another script may be at it
        exec 9>"$VENV.lock"
        flock -n 9 || { say "Waiting for another script that is making $VENV"; flock 9; }
    fi
    is_ready "$1" || make_environment "$1"
    exec 9>&-
}

make_environment() {
    if [ -e "$VENV.making" ] || ! "$VENV/bin/python" -c '' 2>/dev/null; then
        python=$(find_python) || exit 1
        say "Making $VENV with $("$python" --version)"
        : >"$VENV.making"
        "$python" -m venv --clear "$VENV" >"$VENV.log" 2>&1 </dev/null || die "could not make $VENV; see $VENV.log"
    fi
    : >"$VENV.making"
    say "Installing what $1 names"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: \
        -r "$1" >"$VENV.log" 2>&1 </dev/null || die "$(why_pip_failed)"
    cksum <"$1" >"$VENV/$1.stamp"
    [ "$1" = requirements.txt ] || cksum <requirements.txt >"$VENV/requirements.txt.stamp" # which it includes
    rm -f "$VENV.making"
}

why_pip_failed() {
    if grep -qiE 'connection|resolve|network|timed out|no matching distribution' "$VENV.log"; then
        echo "pip reached no package index; check the network, then start again (its log: $VENV.log)"
    elif grep -qi 'no space left' "$VENV.log"; then
        echo "the disk is full; make room, then start again (pip's log: $VENV.log)"
    else
        echo "pip failed: $(grep -m1 ERROR "$VENV.log" || tail -n1 "$VENV.log") (its log: $VENV.log)"
    fi
}

port_is_free() {
    status=0
    python3 -c 'import errno, socket, sys
try:
    socket.create_server(("127.0.0.1", int(sys.argv[1]))).close()
except OSError as error:
    sys.exit(9 if error.errno == errno.EADDRINUSE else 0)' "$1" 2>/dev/null || status=$?
    [ "$status" != 9 ] || die "port $1 is busy; stop what uses it, or type: PORT=$(($1 + 1)) scripts/run"
}
