#!/bin/bash
# Installs what the tests of launchers start agents with, as far as it is missing; starts nothing.
set -eu
declare -A package=(
  [mpiexec.openmpi]=openmpi-bin [mpiexec.mpich]=mpich [parallel]=parallel [/usr/sbin/sshd]=openssh-server [ssh]=openssh-client
)
need=()
for program in "${!package[@]}"; do command -v "$program" >/dev/null || need+=("${package[$program]}"); done
((${#need[@]})) || exit 0
echo "apt-get install ${need[*]}" >&2
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # no service is started
install() { apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 "${need[@]}"; }
{ install || { apt-get update -q && install; }; } </dev/null >/dev/null
