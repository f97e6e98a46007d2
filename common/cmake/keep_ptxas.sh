#!/bin/sh
# Runs a compiler and keeps what ptxas says of every kernel's registers and spills in OBJECT.ptxas, which
# tests/gpu/kernels/ptxas_test.py and the kernels' benchmark read. Only other messages are shown.
#
#   keep_ptxas.sh COMPILER ... -o OBJECT ...
object=
previous=
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
[ -n "$object" ] || exec "$@"
"$@" 2>"$object.messages"
status=$?
grep -E '^ptxas info|bytes stack frame' "$object.messages" >"$object.ptxas"
grep -vE '^ptxas info|bytes stack frame' "$object.messages" >&2
rm -f "$object.messages"
exit $status
