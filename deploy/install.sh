#!/usr/bin/env bash
# Installs the Debian packages of deploy/packages.txt that are missing. Needs root only when something is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

missing=()
while read -r package; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done < <(grep -v '^#' "$here/packages.txt")
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install: these Debian packages are missing; install them as root: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "install: ${missing[*]}"
# RUNLEVEL=1 keeps packages from starting their daemons (prometheus).
quiet=$(mktemp)
trap 'rm -f "$quiet"' EXIT
if ! { "${sudo[@]}" apt-get update && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
       apt-get install -y --no-install-recommends "${missing[@]}"; } >"$quiet" 2>&1; then
  tail -n 20 "$quiet" >&2
  echo "install: apt-get failed; the packages above are needed" >&2
  exit 1
fi
