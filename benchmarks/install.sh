#!/bin/sh
# Installs the tools that copy and verify are compared with, where this is Debian or Ubuntu and the user may; without them
# those lines are left out of the table.
set -eu

command -v mydumper >/dev/null && command -v pt-table-checksum >/dev/null && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "bench: mydumper and pt-table-checksum are not installed; their lines are left out" >&2
  exit 0
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends mydumper percona-toolkit; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "bench: mydumper and pt-table-checksum could not be installed; their lines are left out" >&2
fi
