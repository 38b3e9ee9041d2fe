#!/bin/sh
# doctor.sh: says what is present (versions) and what is missing for each make target. Changes nothing.
# SPDX-License-Identifier: MIT
# Works with nothing but a shell. Exit: 0 when `make run` and `make test` have all they need, else 1.
set -u
cd "${0%/*}/.." || exit 1
. tools/setup_needs.sh

row() { printf '  %-24s %-14s %s\n' "$1" "$2" "$3"; }

# Prints the first version number in what the program says of itself; nothing when it does not run.
version_of() {
  case $1 in llvm-profdata-*) set -- "$1" merge ;; esac  # which has no --version of its own
  "$@" --version </dev/null 2>&1 | sed -n 's/\([0-9][0-9]*\.[0-9.]*[0-9]\).*/|\1/p' | sed -n '1s/.*|//p'
}

report_need() {
  [ "$1" = "$group" ] || return 0
  case $2 in path:*) name=$3 ;; *) name=${2#program:} ;; esac
  if ! present "$2"; then
    row "$name" MISSING "package $3"
    unready="$unready $1"
  elif [ "$name" = "${2#program:}" ]; then
    found=$(version_of "$name")
    if [ -n "$found" ]; then
      row "$name" "$found" "$(command -v "$name")"
    else
      row "$name" 'DOES NOT RUN' "$("$name" --version </dev/null 2>&1 | head -n 1)"
      unready="$unready $1"
    fi
  else
    row "$name" present "$path"
  fi
}

report_group() {
  group=$1
  printf '%s\n' "$2"
  each_need report_need
}

report_python() {
  printf 'Python\n'
  seen=''
  for candidate in ${PYTHON:-python3 "$sysroot/usr/bin/python3"}; do
    [ "$seen" != "$candidate" ] || continue
    seen=$(command -v "$candidate" 2>/dev/null)
    if ! found=$(command -v "$candidate" 2>/dev/null); then
      row "$candidate" MISSING 'packages python3 python3-venv'
    elif version=$("$candidate" -IBc 'import sys; print(sys.version.split()[0]); sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null); then
      row "$candidate" "$version" "$found"
    else
      row "$candidate" "${version:-DOES NOT RUN}" "$found (3.11 or later is needed)"
    fi
  done
  check_venv
  row .venv '' "$venv_state"
  [ "$venv_state" = ready ] || unready="$unready venv"
  case $venv_state in missing | made*) return 0 ;; esac
  lock_rows | while IFS='=' read -r name _ version; do
    there=''
    for info in .venv/lib/python3*/site-packages/"$(printf %s "$name" | tr -- -. __)"-*.dist-info; do
      [ ! -e "$info" ] || { there=${info%.dist-info} there=${there##*-}; }
    done
    [ "$there" = "$version" ] || row "  $name" "${there:-MISSING}" "the lock says $version"
  done
}

# What only some targets or tests want: never a reason to call anything unready but those.
report_optional() {
  row_state=absent
  [ ! -e .venv/coronel.extra.coverage ] || row_state=present
  row gcovr "$row_state" 'the extra coverage of tools/requirements.lock; `make coverage` installs it'
}

report_machine() {
  printf 'Machine\n'
  if [ -w /dev/kvm ]; then
    row KVM present 'the tests use TCG; --accel kvm is for those who want it'
  else
    row KVM absent 'not needed: TCG does'
  fi
  bits=$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null) || bits=unknown
  case $bits in
    29 | 30 | 31 | 32) row vm.mmap_rnd_bits "$bits" 'ThreadSanitizer of GCC 12 and 13 dies here; the tests use setarch -R' ;;
    *) row vm.mmap_rnd_bits "$bits" 'ThreadSanitizer works' ;;
  esac
  if ! setarch "$(uname -m)" -R true 2>/dev/null; then
    row 'setarch -R' REFUSED 'a container that forbids personality(2): the ThreadSanitizer tests may fail'
  fi
}

verdict() { # GOAL GROUP...
  goal=$1
  shift
  for need in "$@"; do
    case " $unready " in *" $need "*)
      printf '  make %-10s lacks something; it installs it, or says how\n' "$goal"
      return 1
      ;;
    esac
  done
  printf '  make %-10s ready\n' "$goal"
}

read_os_release
unready=''
printf 'Coronel on %s, %s CPUs\n' "$os_name" "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo '?')"
[ -z "$rootless" ] || printf 'Without root: programs of .tools come first (ROOTLESS=0, or no .tools, ends that)\n'
report_group build 'For everything'
report_group run 'For make run and all that boots'
report_python
report_group test 'For make test and make gdb'
report_group clang 'For make analyze and make fuzz'
report_group valgrind 'For make valgrind and make bench'
report_group bench 'For make bench'
printf 'Optional\n'
report_optional
report_machine
printf 'Verdict\n'
status=0
verdict run build run venv || status=1
verdict test build run venv test || status=1
verdict valgrind build venv valgrind || :
verdict bench build run venv valgrind bench || :
verdict coverage build run venv || :
verdict analyze build run venv clang || :
verdict fuzz build run venv clang || :
exit $status
