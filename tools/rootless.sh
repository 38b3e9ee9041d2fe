# Debian packages without root, unpacked into .tools; sourced by bootstrap.sh in the root of the checkout.
# SPDX-License-Identifier: MIT
#   .tools/apt       apt's settings, package lists and downloads of its own
#   .tools/root      what the packages hold, as under /
#   .tools/bin       a script for each of their programs, which says where its libraries and data are
#   .tools/complete  written last: the system and checkout all this was made for, and what must be there
#
# What the system has installed already is not fetched again. No package's own scripts are run, and nothing outside
# .tools is written, so `rm -rf .tools` is the whole removal.
libraries=usr/lib/x86_64-linux-gnu

# Removes what a killed set-up left behind, and what was made for another system or place or has lost a file.
check_unpacked() {
  [ -e .tools/root ] || return 0
  why='is half finished'
  if [ -e .tools/complete ]; then
    {
      read -r made_for || made_for=''
      why=''
      [ "$made_for" = "$os_id $os_version $PWD" ] || why="was made for $made_for"
      while [ -z "$why" ] && read -r path; do
        [ -e "$path" ] || why="has lost $path"
      done
    } <.tools/complete
  fi
  [ -n "$why" ] || return 0
  say ".tools $why: it is made anew."
  rm -rf .tools/complete .tools/bin .tools/root
}

install_unpacked() {
  say "missing:$missing"
  debian_like || stop 2 "this is $os_name; ROOTLESS=1 works on Debian and Ubuntu only, by apt-get and dpkg-deb."
  say "+ apt-get install --download-only$packages, unpacked into .tools (nothing outside it is changed)"
  mkdir -p .tools/apt/lists/partial .tools/apt/archives/partial
  {
    printf 'Dir::State::lists "%s";\n' "$PWD/.tools/apt/lists"
    printf 'Dir::State::extended_states "%s";\n' "$PWD/.tools/apt/extended_states"
    printf 'Dir::Cache "%s";\nDir::Cache::archives "%s";\n' "$PWD/.tools/apt" "$PWD/.tools/apt/archives"
    printf 'Debug::NoLocking "true";\nAPT::Sandbox::User "root";\n'
  } >.tools/apt/apt.conf
  # autoclean: of two versions that a killed set-up left, the old one goes.
  # shellcheck disable=SC2086
  { apt_get update && apt_get autoclean && apt_get install -y --no-install-recommends --download-only $packages; } ||
    stop 3 'apt-get failed: the reason is above. (No network?)'
  rm -f .tools/complete
  make_root
  for archive in .tools/apt/archives/*.deb; do
    [ ! -e "$archive" ] || unpack "$archive"
  done
  complete_compiler
  complete_python
  complete_certificates
  wrap_programs
  {
    printf '%s\n' "$os_id $os_version $PWD"
    for path in .tools/bin/* .tools/root/usr/bin/* .tools/root/usr/sbin/* .tools/root/$libraries/*; do
      [ ! -e "$path" ] || printf '%s\n' "$path"
    done
  } >.tools/complete.new
  mv .tools/complete.new .tools/complete
  rm -f .tools/apt/archives/*.deb .tools/apt/*.bin
}

apt_get() { APT_CONFIG=$PWD/.tools/apt/apt.conf apt-get "$@" </dev/null >&2; }

# The folders of a Debian whose /bin and /lib are links into /usr: older packages still say /lib.
make_root() {
  mkdir -p .tools/bin ".tools/root/$libraries"
  for folder in bin sbin lib lib64; do
    mkdir -p ".tools/root/usr/$folder"
    [ -e ".tools/root/$folder" ] || ln -s "usr/$folder" ".tools/root/$folder"
  done
}

unpack() {
  # The C library and its loader are one pair, the system's: two versions in one process crash it.
  case ${1##*/} in libc6_* | libc-bin_*) return 0 ;; esac
  dpkg-deb --fsys-tarfile "$1" | tar -x -C .tools/root --keep-directory-symlink --exclude='./usr/share/doc' \
    --exclude='./usr/share/man' --exclude='./usr/share/locale' ||
    stop 3 "$1 does not unpack: the reason is above. Say make again; if that does not help, remove .tools."
}

# The compiler looks for the C library beside its headers, in its own root.
complete_compiler() {
  [ -e .tools/root/usr/bin/g++ ] || return 0
  for library in libc.so.6 libm.so.6 libmvec.so.1 libgcc_s.so.1 libstdc++.so.6; do
    [ -e ".tools/root/$libraries/$library" ] || ln -s "/$libraries/$library" ".tools/root/$libraries/$library"
  done
  [ -e .tools/root/usr/lib64/ld-linux-x86-64.so.2 ] || ln -s /lib64/ld-linux-x86-64.so.2 .tools/root/usr/lib64/
}

# A virtual environment runs its interpreter by path, past .tools/bin; so the interpreter itself becomes a script.
complete_python() {
  for real in .tools/root/usr/bin/python3.[0-9] .tools/root/usr/bin/python3.[0-9][0-9]; do
    [ -x "$real" ] && [ ! -e "$real.real" ] || continue
    mv "$real" "$real.real"
    write_script "$real" /lib64/ld-linux-x86-64.so.2 --library-path "$PWD/.tools/root/$libraries" --argv0 '"$0"' \
      "$PWD/$real.real"
  done
}

# What the package's script would do: all certificates in one file.
complete_certificates() {
  for certificates in .tools/root/usr/share/ca-certificates/*; do
    [ -d "$certificates" ] || continue
    mkdir -p .tools/root/etc/ssl/certs
    cat "$certificates"/*.crt >.tools/root/etc/ssl/certs/ca-certificates.crt
  done
}

# True where the certificates are unpacked ones; pip and uv are told of them.
use_unpacked_certificates() {
  [ -n "$rootless" ] && [ -s .tools/root/etc/ssl/certs/ca-certificates.crt ] || return 1
  export PIP_CERT="$PWD/.tools/root/etc/ssl/certs/ca-certificates.crt"
  export SSL_CERT_FILE="$PIP_CERT"
}

wrap_programs() {
  for program in .tools/root/usr/sbin/* .tools/root/usr/bin/*; do
    [ -f "$program" ] && [ -x "$program" ] || continue
    set -- "$PWD/$program"
    case ${program##*/} in
      qemu-system-*) set -- "$@" -L "$PWD/.tools/root/usr/share/qemu" -L "$PWD/.tools/root/usr/share/seabios" ;;
      g++ | g++-* | gcc | gcc-[0-9]*) # its programs need its libraries (libasan, libtsan) when they run, too
        set -- "$@" "--sysroot=$PWD/.tools/root" "-Wl,-rpath,$PWD/.tools/root/$libraries" ;;
      gdb) set -- "$@" --data-directory "$PWD/.tools/root/usr/share/gdb" ;;
      python*.real) continue ;;
    esac
    write_script ".tools/bin/${program##*/}" "$@"
  done
}

# write_script FILE COMMAND...: the script that runs COMMAND with the unpacked libraries and its own arguments.
write_script() {
  script=$1
  shift
  {
    printf '#!/bin/sh\n# Made by tools/rootless.sh.\nexport LD_LIBRARY_PATH=%s' "$(quoted "$PWD/.tools/root/$libraries")"
    printf '%s\nexec' '${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}'
    for word; do
      case $word in '"$0"') printf ' %s' "$word" ;; *) printf ' %s' "$(quoted "$word")" ;; esac
    done
    printf ' "$@"\n'
  } >"$script.new"
  chmod +x "$script.new"
  mv "$script.new" "$script"
}

# As one word for a shell.
quoted() {
  case $1 in
    *\'*) printf %s "$1" | sed "s/'/'\\\\''/g; s/^/'/; s/\$/'/" ;;
    *) printf "'%s'" "$1" ;;
  esac
}
