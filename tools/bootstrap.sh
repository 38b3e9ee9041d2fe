#!/bin/sh
# bootstrap.sh GOAL...: makes what `make GOAL` needs and no more. Goals: build run test analyze fuzz valgrind bench coverage.
# SPDX-License-Identifier: MIT
# Debian packages: as root it shows the apt-get command and runs it; with sudo it shows it and asks; otherwise it
# prints the line. With ROOTLESS=1 it does without: tools/rootless.sh. Python packages: a virtual environment in .venv,
# from tools/requirements.lock.
#
#   bootstrap.sh --clang-version   prints the version of clang that analyze and fuzz use
#
# On a terminal "asks" means: on that terminal, never on standard input, which belongs to `make run`. Without one,
# sudo is used only where it needs no password: whoever allows an unattended process that has decided already.
#
# Exit: 0 ready, 2 something is missing that only a person can supply, 3 an installation was tried and failed.
# Environment: ROOTLESS=1, PYTHON (the interpreter to use), CORONEL_SYSROOT (tests: goes before absolute paths).
set -eu
cd "${0%/*}/.."
. tools/setup_needs.sh
. tools/rootless.sh

say() { printf 'set-up: %s\n' "$*" >&2; }
stop() {
  status=$1
  shift
  say "$*"
  exit "$status"
}

# ---- what is missing -------------------------------------------------------------------------------------------------
# Sets missing (for people) and packages (for apt-get).
find_missing() {
  missing='' packages=''
  each_need note_missing
  check_venv
  case " $wanted " in
    *' coverage '*)
      if [ -z "$venv_redo" ] && [ ! -e .venv/coronel.extra.coverage ]; then
        venv_redo=extra venv_state='without the extra coverage'
      fi ;;
  esac
  # An environment that uv made has no pip.
  [ -z "$venv_redo" ] || [ -e .venv/bin/pip ] || command -v uv >/dev/null 2>&1 || venv_redo=all
  if [ "$venv_redo" = all ]; then
    find_python
    if [ "$python_state" != good ]; then
      missing="$missing python3>=3.11+venv"
      if [ -z "$rootless" ]; then
        packages="$packages python3 python3-venv"
      else
        [ "$python_state" = no-venv ] || packages="$packages python3"
        packages="$packages python3-pip-whl"
      fi
    fi
    # Debian's pip trusts the system's certificates only; without them it says "from versions: none".
    if debian_like && [ ! -s "$sysroot/etc/ssl/certs/ca-certificates.crt" ] && ! use_unpacked_certificates; then
      missing="$missing ca-certificates" packages="$packages ca-certificates"
    fi
  fi
}

note_missing() {
  case " $wanted " in *" $1 "*) ;; *) return 0 ;; esac
  present "$2" && return 0
  missing="$missing ${2#*:}"
  case " $packages " in *" $3 "*) ;; *) packages="$packages $3" ;; esac
}

# Sets python (a command) and python_state: good, old, no-venv or none. The first good one wins, so that a version
# manager's shim which leads nowhere does not hide Debian's own.
find_python() {
  python='' python_state=none
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 "$sysroot/usr/bin/python3"}; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1; then
      state=no-venv
      if "$candidate" -c 'import venv, ensurepip' </dev/null >/dev/null 2>&1; then
        state=good
      elif find_pip_wheel && "$candidate" -c 'import venv' </dev/null >/dev/null 2>&1; then
        state=good
      fi
    else
      state=old
    fi
    case $python_state$state in *good | none* | oldno-venv) python=$candidate python_state=$state ;; esac
    [ "$python_state" != good ] || return 0
  done
}

# Sets pip_wheel to the one that was unpacked, where Debian's ensurepip does not look.
find_pip_wheel() {
  for pip_wheel in .tools/root/usr/share/python-wheels/pip-*.whl; do
    [ -n "$rootless" ] && [ -e "$pip_wheel" ] && return 0
  done
  return 1
}

# ---- Debian packages ---------------------------------------------------------------------------------------------------
install_packages() {
  if [ -n "$rootless" ]; then
    install_unpacked
    return 0
  fi
  update='apt-get update'
  install="env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends$packages"
  say "missing:$missing"
  if ! debian_like; then
    say "this is $os_name; Coronel can install packages on Debian and Ubuntu only."
    stop 2 'install the programs above with your system'\''s package manager, then say make again.'
  fi
  if [ "$(id -u)" = 0 ]; then
    say "+ $update && $install"
    as_root=''
  elif ! command -v sudo >/dev/null 2>&1; then
    stop 2 "run this as root, then say make again:
  $update && $install
or, without root, into a folder of this checkout: make ROOTLESS=1 $first_goal"
  else
    as_root=sudo
    if [ -t 2 ] && (: </dev/tty) 2>/dev/null; then
      say "+ sudo $update && sudo $install"
      printf 'set-up: run it now? [Y/n] ' >&2
      answer=n
      read -r answer </dev/tty || answer=n
      case $answer in '' | [Yy]*) ;; *) stop 2 'nothing was installed.' ;; esac
    elif sudo -n true >/dev/null 2>&1; then
      say "+ sudo $update && sudo $install"
    else
      stop 2 "run this, then say make again (there is no terminal to ask on):
  sudo $update && sudo $install
or, without root, into a folder of this checkout: make ROOTLESS=1 $first_goal"
    fi
  fi
  # Word splitting is meant. Standard input stays with make; standard output is not ours to fill.
  # shellcheck disable=SC2086
  { $as_root $update && $as_root $install; } </dev/null >&2 ||
    stop 3 'apt-get failed: the reason is above. (No network, or not allowed?)'
}

# ---- Python packages ----------------------------------------------------------------------------------------------------
install_venv() {
  [ "$venv_redo" != all ] || make_venv
  case " $wanted " in *' coverage '*) install_extra coverage ;; esac
  if [ "$venv_redo" != extra ]; then
    say "+ coronel itself, editable, into .venv ($venv_state)"
    with_pip --no-build-isolation -e tools
  fi
  remember_venv
}

install_extra() {
  [ ! -e ".venv/coronel.extra.$1" ] || return 0
  say "+ the extra $1 of tools/requirements.lock, into .venv"
  install_rows "$1"
  : >".venv/coronel.extra.$1"
}

# install_rows [EXTRA]
install_rows() {
  lock_rows "$@" >.venv/coronel.rows
  with_pip --only-binary :all: -r .venv/coronel.rows
}

make_venv() {
  if [ -e .venv ] && [ ! -e .venv/pyvenv.cfg ] && ! rmdir .venv 2>/dev/null; then
    stop 2 '.venv exists and is not a virtual environment: move it away, then say make again.'
  fi
  say "+ virtual environment .venv from tools/requirements.lock ($venv_state)"
  rm -rf .venv
  installer=pip
  if command -v uv >/dev/null 2>&1; then
    uv venv -q --no-config -p "$python" .venv </dev/null >&2 && installer=uv && install_rows && return 0
    say 'uv did not manage it; trying venv and pip.'
    installer=pip
    rm -rf .venv
  fi
  if "$python" -c 'import ensurepip' </dev/null >/dev/null 2>&1; then
    set -- "$python" -m venv .venv
  else
    find_pip_wheel
    set -- "$python" -m venv --without-pip .venv
  fi
  "$@" </dev/null >&2 || stop 3 "'$*' failed: the reason is above."
  [ -e .venv/bin/pip ] || .venv/bin/python "$pip_wheel/pip" install -q --no-index --no-deps "$pip_wheel" </dev/null >&2 ||
    stop 3 "$pip_wheel does not install: the reason is above."
  install_rows
}

# Installs into .venv without looking at dependencies: the lock holds them all.
with_pip() {
  log=.venv/coronel.log
  if [ "${installer:-pip}" = uv ] || [ ! -e .venv/bin/pip ]; then
    uv pip install -q --no-deps -p .venv/bin/python "$@" </dev/null >"$log" 2>&1 && return 0
    cat "$log" >&2
    [ "${installer:-pip}" != uv ] || return 1
  else
    # Settings for installing elsewhere would lead out of .venv.
    env -u PIP_USER -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PYTHONPATH -u PYTHONHOME \
      .venv/bin/python -m pip install -q --no-deps --no-input --disable-pip-version-check "$@" \
      </dev/null >"$log" 2>&1 && return 0
    tail -n 12 "$log" >&2
  fi
  explain_pip
}

explain_pip() {
  if grep -qiE 'certificate|SSLError' "$log"; then
    why='the registry'\''s certificate is not trusted here. Install ca-certificates (and your proxy'\''s certificate).'
  elif grep -qiE 'NewConnectionError|NameResolution|Temporary failure|timed out|ConnectTimeout|proxy|dns error' "$log"; then
    why='the package registry cannot be reached. Check the network and pip'\''s index-url and proxy settings.'
  elif grep -q 'from versions: none' "$log"; then
    why='pip saw no package at all: no network, no CA certificates, or a registry that lacks it.'
  elif grep -q 'No matching distribution' "$log"; then
    why='the registry has not this version as a wheel for this Python.'
  else
    why='the reason is above.'
  fi
  stop 3 "the Python packages did not install: $why"
}

# What check_venv compares: the lock, the checkout, the interpreter, and every program and package of .venv.
remember_venv() {
  cp tools/pyproject.toml .venv/coronel.pyproject
  cp tools/requirements.lock .venv/coronel.lock
  {
    printf '%s\n' "$PWD"
    .venv/bin/python -ISc 'import os, sys; print(os.path.realpath(sys.executable))'
    for path in .venv/bin/* .venv/lib/python3*/site-packages/*; do
      case $path in */__pycache__) ;; *) printf '%s\n' "$path" ;; esac
    done
  } >.venv/coronel.installing
  mv .venv/coronel.installing .venv/coronel.installed
}

# ---- main ----------------------------------------------------------------------------------------------------------------
read_os_release
if [ "${1:-}" = --clang-version ]; then
  choose_clang
  echo "$clang"
  exit 0
fi
[ $# -gt 0 ] || stop 2 'usage: tools/bootstrap.sh GOAL..., goals: build run test analyze fuzz valgrind bench coverage'
first_goal=$1 wanted=''
for goal; do
  groups_of "$goal" || stop 2 "unknown goal '$goal'; goals: build run test analyze fuzz valgrind bench coverage"
  wanted="$wanted $groups"
done

[ -z "$rootless" ] || check_unpacked
find_missing
if [ -n "$missing" ]; then
  [ "$missing" != ' python3>=3.11+venv' ] || [ "$python_state" != old ] || debian_like ||
    say "$python is too old: Python 3.11 or later is needed (PYTHON=... names another one)."
  install_packages
  find_missing
  [ "${python_state:-good}" != old ] ||
    stop 2 "Python 3.11 or later is needed; $("$python" -V 2>&1) is what there is. Install one and say PYTHON=... ."
  [ -z "$missing" ] || stop 3 "still missing after the installation:$missing"
fi
[ -z "$venv_redo" ] || install_venv
