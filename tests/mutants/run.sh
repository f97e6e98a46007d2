#!/usr/bin/env bash
# Breaks the code in one line at a time and sees the test that must notice fail.
#
#   bash tests/mutants/run.sh               all of them; minutes, as each is built
#   bash tests/mutants/run.sh --only NAME   one; NAME may be a number of the list, and the option may be repeated
#   bash tests/mutants/run.sh --list        their numbers, names and what they break
#   bash tests/mutants/run.sh --check       only that every patch applies and names a test there is; part of tests/run.sh
#
# The tree is copied to build/mutants, so that nothing here is ever left broken.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tree=$root/build/mutants/tree
test_limit=120

fail() { echo "mutants: $1" >&2; exit 1; }

names=() targets=() filters=() breaks=()
while read -r name target filter what; do
  [ -z "$name" ] || [ "${name:0:1}" = "#" ] && continue
  names+=("$name") targets+=("$target") filters+=("$filter") breaks+=("${what#\# }")
done <"$here/list.txt"

list() {
  for i in "${!names[@]}"; do printf '%3d  %-20s %s\n' $((i + 1)) "${names[$i]}" "${breaks[$i]}"; done
}

check() {
  local wrong=0 known listed
  known=$(grep -rhoE 'decant_(kernel_)?test\([a-z0-9_]+' --include=CMakeLists.txt "$root/tests" | cut -d'(' -f2)
  listed=$(printf '%s\n' "${names[@]}")
  for i in "${!names[@]}"; do
    if ! patch -p1 -s -f --dry-run -d "$root" <"$here/${names[$i]}.patch" >/dev/null 2>&1; then
      echo "mutants: ${names[$i]}.patch no longer applies; make it again from the line it is to break" >&2
      wrong=1
    fi
    if ! grep -qx "${targets[$i]}" <<<"$known"; then
      echo "mutants: ${names[$i]} wants test ${targets[$i]}, which is in no CMakeLists.txt; name another" >&2
      wrong=1
    fi
  done
  for patch in "$here"/*.patch; do
    if ! grep -qx "$(basename "$patch" .patch)" <<<"$listed"; then
      echo "mutants: $(basename "$patch") is not in list.txt; add it with the test that must fail" >&2
      wrong=1
    fi
  done
  [ "$wrong" -eq 0 ] || exit 1
  echo "mutants: ${#names[@]} patches apply"
}

# New bytes get a new time, whichever way the times stand: a file that is restored has to be built again.
copy_tree() {
  mkdir -p "$tree"
  (cd "$root" && find . \( -path ./build -o -path ./.git \) -prune -o -type f -print) >"$tree.files"
  while read -r file; do
    cmp -s "$root/$file" "$tree/$file" && continue
    mkdir -p "$tree/$(dirname "$file")"
    cp "$root/$file" "$tree/$file"
  done <"$tree.files"
  (cd "$tree" && find . -path ./build -prune -o -type f -print) | while read -r file; do
    [ -e "$root/$file" ] || rm -f "$tree/$file"
  done
}

build() { nice cmake --build "$tree/build/cpu" --target "$1" >"$tree.log" 2>&1; }

# run_test TARGET FILTER: the test's own exit status.
run_test() {
  local binary
  binary=$(find "$tree/build/cpu/tests" -type f -perm -u+x -name "$1" | head -1)
  [ -n "$binary" ] || fail "no executable $1 under $tree/build/cpu/tests"
  # The last command keeps the shell: it is the one that says how a test crashed, into the log.
  (cd "$tree" && timeout "$test_limit" "$binary" "--gtest_filter=$2" --gtest_brief=1; exit $?) >"$tree.log" 2>&1
}

# Reports one mutant; 1 when it lives.
try() {
  local name=${names[$1]} target=${targets[$1]} filter=${filters[$1]} file result=0
  file=$(sed -n 's,^+++ b/,,p' "$here/$name.patch")
  patch -p1 -s -f -d "$tree" <"$here/$name.patch" >/dev/null || fail "$name.patch no longer applies"
  if ! build "$target"; then
    echo "$name: does not compile, so it says nothing; see $tree.log"
    result=1
  elif run_test "$target" "$filter"; then
    echo "$name: LIVES: $target --gtest_filter='$filter' passes, although ${breaks[$1]} no more"
    result=1
  else
    echo "$name: found by $(sed -n 's/^\[  FAILED  \] \([A-Za-z0-9_/.]*\).*/\1/p' "$tree.log" | head -1 | grep . || echo "$target, which crashed")"
  fi
  rm -f "$tree/$file.orig"
  cp "$root/$file" "$tree/$file"
  return $result
}

only=()
while [ $# -gt 0 ]; do
  case $1 in
    --list) list; exit 0 ;;
    --check) check; exit 0 ;;
    --only) [ $# -gt 1 ] || fail "--only needs a name or number of --list"; only+=("$2"); shift ;;
    --help | -h) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown option $1; --list, --check or --only NAME" ;;
  esac
  shift
done

chosen=()
for want in "${only[@]}"; do
  found=
  for i in "${!names[@]}"; do
    if [ "$want" = "${names[$i]}" ] || [ "$want" = $((i + 1)) ]; then found=$i; fi
  done
  [ -n "$found" ] || fail "no mutant $want; see --list"
  chosen+=("$found")
done
[ ${#only[@]} -gt 0 ] || chosen=("${!names[@]}")

check
copy_tree
(cd "$tree" && cmake --preset cpu -DDECANT_LOAD_TESTS=OFF >"$tree.log" 2>&1) || fail "configuring failed; see $tree.log"
# A test that fails anyway would find every mutant.
declare -A sound
for i in "${chosen[@]}"; do
  key="${targets[$i]} ${filters[$i]}"
  [ -z "${sound[$key]:-}" ] || continue
  build "${targets[$i]}" || fail "${targets[$i]} does not build; see $tree.log"
  run_test "${targets[$i]}" "${filters[$i]}" || fail "${targets[$i]} fails without any mutant; see $tree.log"
  grep -q "PASSED.* 0 tests" "$tree.log" && fail "filter '${filters[$i]}' of ${names[$i]} matches no test of ${targets[$i]}"
  sound[$key]=1
done
lives=0
for i in "${chosen[@]}"; do try "$i" || lives=$((lives + 1)); done
echo "mutants: $((${#chosen[@]} - lives)) of ${#chosen[@]} found"
[ "$lives" -eq 0 ]
