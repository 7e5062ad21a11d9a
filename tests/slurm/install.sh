#!/bin/sh
# Install SLURM and munge from Debian. Their services stay off: the tests start daemons of their own.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
if command -v sbatch >/dev/null && command -v slurmctld >/dev/null && command -v slurmd >/dev/null &&
    command -v munged >/dev/null; then
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 slurm-wlm munge
