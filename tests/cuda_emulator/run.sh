#!/usr/bin/env bash
# Builds the tests that run CUDA kernels on the CPU and runs them: tests/cuda_emulator/run.sh [build directory] [jobs] [programs]
# (programs: a regular expression; all if it is left out).
# Each in its builds (plain, asan, race). Prints what each build notices of the planted bugs; the last line reads
# "N passed, N failed, N skipped", and the exit status is 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
directory=${1:-build/release}
jobs=${2:-$(nproc)}
only=${3:-.}

# Program, seconds that one build of it may take, its builds (those of CMakeLists.txt; plain is its name alone where the
# program is one of the usual tests, too), and what it is asked to run.
programs="
cuda_emulator_test   60 _plain,_asan,_race
cuda_mutation_test  120 _plain,_asan,_race
cuda_rows_test      200 ,_race
cuda_gemm_test      200 ,_race
cuda_attend_test    200 ,_race
cuda_attend_half_test 100 ,_race
cuda_scan_test      200 ,_race
cuda_conv_test      200 ,_race
cuda_runtime_test    60 ,_race
ops_index_test      200 _race -tc=*accelerator*
ops_sort_test       200 _race -tc=*accelerator*
ops_reduce_test     200 _race -tc=an?emulated*
ops_pointwise_test  200 _race -tc=an?emulated*
ops_neural_test     200 _race -tc=an?emulated*
ops_product_test    200 _race -tc=an?emulated*
ops_losses_test     200 _race -tc=an?emulated*
ops_device_test     200 _race
ops_attend_test     200 _race -tc=an?emulated*
ops_scan_test       200 _race -tc=an?emulated*
ops_conv_test       200 _race -tc=an?emulated*
ops_pool_test       200 _race -tc=an?emulated*
ops_resample_test   200 _race -tc=an?emulated*
ops_recurrent_test  200 _race -tc=an?emulated*"

passed=0 failed=0 skipped=0
ok() { echo "ok - $*"; }
bad() { echo "not ok - $*" && failed=$((failed + 1)); }

if [ ! -f "$directory/build.ninja" ]; then cmake --preset release -G Ninja -B "$directory" >/dev/null || { bad configures; }; fi
targets=()
# each_program command: with the program, its seconds, and its arguments.
each_program() {
  local name limit builds arguments build
  while read -r name limit builds arguments; do
    [[ -n $name && $name =~ $only ]] || continue
    IFS=, read -r -a builds <<<"$builds"
    for build in "${builds[@]}"; do "$@" "$name$build" "$limit" "$arguments"; done
  done <<<"$programs"
}
add_target() { targets+=("$1"); }
each_program add_target

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
run_program() {
  local name=$1 limit=$2 start status tenths p f s
  [ -x "$directory/tests/$name" ] || { bad "$name is there"; return; }
  start=$(date +%s%N)
  # shellcheck disable=SC2086
  timeout "$limit" "$directory/tests/$name" $3 </dev/null >"$log" 2>&1
  status=$?
  grep '^mutation|' "$log" >>"$mutations"
  if read -r p f s < <(sed -nE 's/^heed: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$log" | tail -n 1); then
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [ "$status" -eq 0 ] || [ "$f" -gt 0 ] || bad "$name ended with status $status"
  else
    bad "$name ended with status $status"
  fi
  tenths=$((($(date +%s%N) - start) / 100000000))
  printf '%s %-28s %3d.%d s\n' "$([ "$status" -eq 0 ] && echo "ok    -" || echo "not ok -")" "$name" $((tenths / 10)) $((tenths % 10))
  [ "$status" -eq 0 ] || tail -n 60 "$log"
}
each_program run_program

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
