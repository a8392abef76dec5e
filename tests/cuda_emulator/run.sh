#!/usr/bin/env bash
# Builds the tests that run CUDA kernels on the CPU and runs them: tests/cuda_emulator/run.sh [build directory] [jobs]
# Each in its builds (plain, asan, race). Prints what each build notices of the planted bugs; the last line reads
# "N passed, N failed, N skipped", and the exit status is 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
directory=${1:-build/release}
jobs=${2:-$(nproc)}

# Programs, of tests/cuda_emulator/CMakeLists.txt's heed_emulator_test(), and how long one build of each may take (seconds).
programs="
cuda_emulator_test 60
cuda_mutation_test 120"
builds="plain asan race"

passed=0 failed=0 skipped=0
ok() { echo "ok - $*"; }
bad() { echo "not ok - $*" && failed=$((failed + 1)); }

if [ ! -f "$directory/build.ninja" ]; then cmake --preset release -G Ninja -B "$directory" >/dev/null || { bad configures; }; fi
targets=()
while read -r name limit; do
  for build in $builds; do [ -n "$name" ] && targets+=("${name}_$build"); done
done <<<"$programs"

start=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if nice -n 5 ninja -C "$directory" -j"$jobs" "${targets[@]}" >"$log" 2>&1; then
  ok "built in $((SECONDS - start)) s" && passed=$((passed + 1))
else
  grep -E 'error|FAILED' "$log" | head -n 40
  bad "builds"
fi

mutations=$(mktemp)
trap 'rm -f "$log" "$mutations"' EXIT
while read -r name limit; do
  [ -n "$name" ] || continue
  for build in $builds; do
    [ -x "$directory/tests/${name}_$build" ] || { bad "${name}_$build is there"; continue; }
    start=$(date +%s%N)
    ASAN_OPTIONS=detect_leaks=1 timeout "$limit" "$directory/tests/${name}_$build" >"$log" 2>&1
    status=$?
    grep '^mutation|' "$log" >>"$mutations"
    if read -r p f s < <(sed -nE 's/^heed: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$log" | tail -n 1); then
      passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
      [ "$status" -eq 0 ] || [ "$f" -gt 0 ] || bad "${name}_$build ended with status $status"
    else
      bad "${name}_$build ended with status $status"
    fi
    tenths=$((($(date +%s%N) - start) / 100000000))
    printf '%s %-28s %3d.%d s\n' "$([ "$status" -eq 0 ] && echo "ok    -" || echo "not ok -")" "${name}_$build" \
      $((tenths / 10)) $((tenths % 10))
    [ "$status" -eq 0 ] || tail -n 60 "$log"
  done
done <<<"$programs"

# What each build notices: in order, and with how many of ten seeds.
awk -F'|' '
  { if (!($3 in seen)) { seen[$3] = 1; names[++n] = $3 }
    cell[$3, $2] = ($4 ? "yes" : "-") " " $5; if ($3 != "none") { all[$2]++; sum[$2] += ($4 || $5 > 0) } }
  END { if (!n) exit
    printf "%-28s %8s %8s %8s\n", "planted bug", "race", "asan", "plain"
    for (i = 1; i <= n; ++i) printf "%-28s %8s %8s %8s\n", names[i], cell[names[i], "race"], cell[names[i], "asan"], cell[names[i], "plain"]
    printf "%-28s %8s %8s %8s\n", "noticed", sum["race"] "/" all["race"], sum["asan"] "/" all["asan"], sum["plain"] "/" all["plain"] }' "$mutations"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
