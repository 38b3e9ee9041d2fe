# What each make target needs, declared once; sourced by bootstrap.sh and doctor.sh in the root of the checkout.
# SPDX-License-Identifier: MIT
# Everything here is built-in commands of a POSIX shell, so a set-up that is complete is found so in milliseconds.
# CORONEL_SYSROOT (tests) goes before every absolute path that is looked at.
# With ROOTLESS (by default where .tools is) programs and files of .tools count, and come first.
sysroot=${CORONEL_SYSROOT:-}
rootless=${ROOTLESS-}
[ -n "${ROOTLESS+given}" ] || [ ! -e .tools/root ] || rootless=1
[ "$rootless" != 0 ] || rootless=''
[ -z "$rootless" ] || PATH=$PWD/.tools/bin:$PATH

# each_need COMMAND...: calls COMMAND GROUP PROBE PACKAGES for every need. PROBE is program:NAME or path:PATH.
each_need() {
  "$@" run program:qemu-system-x86_64 qemu-system-x86
  "$@" run program:grub-mkrescue grub-common
  "$@" run path:/usr/lib/grub/i386-pc/modinfo.sh grub-pc-bin
  "$@" run program:xorriso xorriso
  "$@" run program:mformat mtools
  "$@" build program:g++ g++
  "$@" build program:ld binutils
  "$@" build program:objdump binutils
  "$@" run program:setarch util-linux
  "$@" build program:make make
  "$@" test program:gdb gdb
  "$@" test path:/usr/lib/grub/x86_64-efi/modinfo.sh grub-efi-amd64-bin
  "$@" test path:/usr/share/OVMF/OVMF_CODE_4M.fd ovmf
  "$@" valgrind program:valgrind valgrind
  # The peers of `make bench`. The first library's package has another name in every release; its -dev has not.
  "$@" bench 'path:/usr/lib/x86_64-linux-gnu/libmimalloc.so.*' libmimalloc-dev
  "$@" bench path:/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 libjemalloc2
  "$@" bench path:/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4 libtcmalloc-minimal4
  choose_clang
  "$@" clang "program:clang++-$clang" "clang-$clang"
  "$@" clang "program:clang-tidy-$clang" "clang-tidy-$clang"
  "$@" clang "path:/usr/lib/llvm-$clang/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a" "libclang-rt-$clang-dev"
  "$@" clang "program:llvm-cov-$clang" "llvm-$clang"
  "$@" clang "program:llvm-profdata-$clang" "llvm-$clang"
}

# Sets os_id, os_like, os_version, os_name.
read_os_release() {
  os_id=unknown os_like='' os_version='' os_name='an unknown system'
  [ -r "$sysroot/etc/os-release" ] || return 0
  while IFS='=' read -r key value; do
    value=${value#[\"\']} value=${value%[\"\']}
    case $key in
      ID) os_id=$value ;;
      ID_LIKE) os_like=$value ;;
      VERSION_ID) os_version=$value ;;
      PRETTY_NAME) os_name=$value ;;
    esac
  done <"$sysroot/etc/os-release"
}

# True on Debian and what is made of it, where apt-get exists.
debian_like() {
  case " $os_id $os_like " in *' debian '* | *' ubuntu '*) command -v apt-get >/dev/null 2>&1 ;; *) false ;; esac
}

# Sets clang: the version that is there, or else the one to install (Debian 12 ends at 16).
choose_clang() {
  [ -z "${clang:-}" ] || return 0
  for clang in 19 18 17 16 20 21; do
    command -v "clang++-$clang" >/dev/null 2>&1 && return 0
  done
  clang=19
  [ "$os_id$os_version" != debian12 ] || clang=16
}

# present PROBE; sets path to the file that a PATH stands for.
present() {
  case $1 in
    program:*) command -v "${1#program:}" >/dev/null 2>&1 ;;
    path:*) # the pattern is expanded here, so neither path may contain spaces
      # shellcheck disable=SC2086
      set -- $sysroot${1#path:} ${rootless:+.tools/root${1#path:}}
      for path; do
        [ ! -e "$path" ] || return 0
      done
      return 1
      ;;
  esac
}

# Which groups of needs a goal has.
groups_of() {
  case $1 in
    build) groups='build' ;;
    run) groups='build run' ;;
    test) groups='build run test' ;;
    valgrind) groups='build valgrind' ;;
    bench) groups='build run valgrind bench' ;;
    coverage) groups='build run coverage' ;;
    analyze | fuzz) groups='build run clang' ;;
    *) return 1 ;;
  esac
}

# lock_rows [EXTRA]: prints the rows of tools/requirements.lock that everybody gets, or those of an extra, which end
# with its name. An extra is the group of needs of that name; .venv/coronel.extra.NAME says that it is installed.
lock_rows() {
  while read -r row _ extra; do
    case $row in '' | \#*) continue ;; esac
    [ "$extra" != "${1:-}" ] || printf '%s\n' "$row"
  done <tools/requirements.lock
}

# The virtual environment's state: sets venv_state to ready, missing, or a clause that says what is wrong; and
# venv_redo to nothing, package (only `coronel` itself) or all.
check_venv() {
  venv_state=ready venv_redo=''
  if [ ! -e .venv/coronel.installed ]; then
    venv_redo=all venv_state='incomplete: not made by tools/bootstrap.sh, or interrupted'
    [ -e .venv ] || venv_state=missing
    return 0
  fi
  if ! cmp -s tools/requirements.lock .venv/coronel.lock; then
    venv_redo=all venv_state='out of date: tools/requirements.lock has changed'
    return 0
  fi
  {
    read -r checkout
    read -r interpreter
    if [ "$checkout" != "$PWD" ]; then
      venv_redo=all venv_state="made for $checkout"
    elif [ ! -x .venv/bin/python ] || ! [ .venv/bin/python -ef "$interpreter" ]; then
      venv_redo=all venv_state="made with $interpreter, which has gone or changed"
    else
      while read -r path; do
        [ -e "$path" ] || { venv_redo=all venv_state="damaged: $path has gone"; }
      done
    fi
  } <.venv/coronel.installed
  [ -z "$venv_redo" ] || return 0
  cmp -s tools/pyproject.toml .venv/coronel.pyproject ||
    venv_redo=package venv_state='out of date: tools/pyproject.toml has changed'
}
