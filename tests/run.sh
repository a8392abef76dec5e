#!/usr/bin/env bash
# Builds heed and runs its tests: ./tests/run.sh [--all] [--only LEG,LEG…] [--jobs N] [--list]
#   --all        the whole matrix: every leg below, about half an hour on two cores
#   --only       these legs alone (see --list)
#   --jobs N     parallel compilations and tests (default: the number of processors)
# Installs what is missing by apt. The last line reads "N passed, N failed, N skipped"; the exit status is 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
source cmake/setup.sh

# name        budget in minutes on two idle cores (a leg is stopped after three times as much), what it checks
legs_plain="
suite         10  build; the whole test suite and the lessons"
legs_all="$legs_plain
isa            4  the tests again on each lower instruction set (HEED_ISA)
leak           1  no code of a higher instruction set outside its kernels
nehalem        4  a subset under an emulated processor without AVX
includes       1  the include graph points one way
format         1  clang-format
size           1  stripped, a program with one kind of attention is below 5 MB, heed-lab with all kinds below 8.5
compile        1  a user's file that includes heed/nn/nn.h compiles in 2 s (3 s allowed on a busy machine)
consumer       6  a user's project by find_package, by add_subdirectory and by pkg-config
asan          12  kernels, modules and every operation under AddressSanitizer and UndefinedBehaviorSanitizer
distributed    5  ranks as threads and under mpirun; killed ranks; two network namespaces with delay and loss; NCCL's symbols
tsan          10  the thread pool and the tape under ThreadSanitizer
arm            8  cross-built for ARM (NEON), a subset under emulation
emulator       8  CUDA's kernels on an emulator that sees races, bounds and uninitialised reads; planted bugs are noticed
cuda           8  every .cu file compiles; registers, spills and instructions of hot kernels stay within their bounds; PTX runs"
all_packages="ccache clang-format qemu-user g++-aarch64-linux-gnu libc6-dev-arm64-cross binutils pkg-config python3 openmpi-bin libopenmpi-dev iproute2"

# Named subsets (ctest regular expressions). Emulators are some thirty times slower than the processor.
lower_isa_excluded='^(kernels_|io_test|cuda_|ptx_|emulated_)'  # kernels_* switch levels themselves; the others have none of theirs
emulated='^(golden|map|ops_(reduce|product|neural|attend)|kernels_pointwise)_test$'
threaded='^(parallel|tape|kernels_rows|distributed_communicator)_test$'
on_ptx='ops_reduce_test ops_neural_test'
# replay repeats PyTorch's samples of every operation, forward and backward.
sanitized='^(replay|contracts|memory|kernels_.*|tensor|io|golden|nn|nn_attention_suite|optim|errors|parallel|lab)_test$'

# ---- results: a leg prints "ok - what", "not ok - what" and "skip - what: why", and these are counted -------------------
ok() { echo "ok - $*"; }
bad() { echo "not ok - $*"; }
skip() { echo "skip - $*"; }
# expect what command…: one check, which passes when the command does.
expect() {
  local what=$1
  shift
  if "$@"; then ok "$what"; else bad "$what"; fi
}

# run_tests label build-directory [ctest option…]: the tests side by side; prints each test's result and
# "count label passed failed skipped", added up from the test cases of each binary.
run_tests() {
  local label=$1 directory=$2 name status line passed=0 failed=0 skipped=0
  shift 2
  local results=$PWD/$directory/results/$label
  rm -rf "$results" && mkdir -p "$results"
  HEED_TEST_RESULTS=$results ctest --test-dir "$directory" --parallel "$jobs" --timeout 900 --no-tests=ignore \
    --output-on-failure --output-log "$results.log" "$@" 2>&1 | grep -v '^ *Start '
  while read -r name status; do
    local p=0 f=0 s=0
    if [ -f "$results/$name" ]; then
      read -r p f s < <(sed -E 's/^heed: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/' "$results/$name")
      if [ "$status" != Passed ] && [ "$f" -eq 0 ]; then f=1; fi # fell over after its last test
    elif [ "$status" = Passed ]; then
      p=1
    else
      f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  done < <(sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) [ .]*(\*\*\*)?([A-Za-z]+).*$/\1 \3/p' "$results.log")
  echo "count $label $passed $failed $skipped"
  # The reasons, so that what did not run is seen.
  find "$directory/Testing/Temporary" -name LastTest.log -exec grep -h '^\[skipped\]' {} + |
    sed -E 's/^\[skipped\] .*: ([^:]*)$/\1/' | sort | uniq -c | sed 's/^ *\([0-9]*\) /  skipped, \1 times: /' || true # none skipped
}

has_flag() { grep -qw "$1" /proc/cpuinfo; }

# ---- the legs -----------------------------------------------------------------------------------------------------------
leg_suite() {
  local werror=OFF what="builds"
  if [ "$all" = 1 ]; then werror=ON what="builds without warnings (-Werror)"; fi
  if ! { configure release -DHEED_WERROR=$werror -DHEED_BUILD_TESTS=ON -DHEED_BUILD_EXAMPLES=ON && build release; }; then
    bad "$what"
    return
  fi
  ok "$what"
  run_tests suite build/release
}

leg_isa() {
  if [ "$(uname -m)" != x86_64 ]; then
    skip "lower instruction sets: not an x86-64 processor"
    return
  fi
  HEED_ISA=baseline run_tests baseline build/release -E "$lower_isa_excluded"
  if has_flag avx2; then
    HEED_ISA=avx2 run_tests avx2 build/release -E "$lower_isa_excluded"
  else
    skip "HEED_ISA=avx2: the processor lacks it"
  fi
  if has_flag avx512bw; then
    ok "HEED_ISA=avx512 is what the suite ran on"
  else
    skip "HEED_ISA=avx512: the processor lacks it"
  fi
}

leg_leak() {
  if [ "$(uname -m)" != x86_64 ]; then
    skip "leaks between instruction sets: not an x86-64 processor"
    return
  fi
  bash tests/scripts/isa_leak.sh build/release
}

# emulate label runner…: the emulated subset of build/$1, one check a binary.
emulate() {
  local directory=$1 name any=0
  shift
  for name in $(ctest --test-dir "$directory" -N -R "$emulated" | sed -nE 's/^ *Test +#[0-9]+: //p'); do
    any=1
    expect "$name under $*" timeout 400 "$@" "$directory/tests/$name" --minimal=true \
      --test-case-exclude='an emulated accelerator*'
  done
  [ $any = 1 ] || bad "the emulated subset is empty"
}

leg_nehalem() {
  if [ "$(uname -m)" != x86_64 ]; then
    skip "Nehalem: not an x86-64 processor"
    return
  fi
  HEED_THREADS=1 emulate build/release qemu-x86_64 -cpu Nehalem
  local lab=(qemu-x86_64 -cpu Nehalem build/release/bin/heed-lab train --preset tiny --steps 2 --text LICENSE --out build/nehalem)
  rm -rf build/nehalem
  expect "heed-lab trains under ${lab[*]:0:3}" "${lab[@]}"
  expect "HEED_ISA=avx512 is an error there, with exit code 2" \
    bash -c 'message=$(HEED_ISA=avx512 "$@" 2>&1); [ $? -eq 2 ] && [[ $message == *"HEED_ISA: the processor lacks"* ]]' - "${lab[@]}"
}

leg_includes() { python3 tests/scripts/check_includes.py; }

leg_format() {
  local file changed=0
  while read -r file; do
    clang-format --dry-run -Werror "$file" 2>/dev/null || { echo "  clang-format would change $file"; changed=$((changed + 1)); }
  done < <(find engine nn optim examples tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' | sort)
  expect "clang-format finds nothing to change ($changed files)" test "$changed" -eq 0
}

leg_size() {
  local program size most
  # heed-lab holds every kind of everything; lesson 8 is what an application with one kind of attention pays.
  while read -r program most; do
    strip -o build/release/stripped "build/release/bin/$program" || { bad "$program is there"; continue; }
    size=$(stat -c %s build/release/stripped)
    expect "stripped $program: $size bytes, at most $most" test "$size" -le "$most"
  done <<<"08_embedding 5000000
heed-lab 8500000"
}

leg_compile() { bash tests/scripts/compile_time.sh build/release; }
leg_consumer() { bash tests/scripts/consumer.sh build/release; }

leg_asan() {
  local targets
  configure asan -DHEED_EMULATED_DEVICE=OFF -DHEED_BUILD_TESTS=ON -DHEED_BUILD_EXAMPLES=ON || { bad "configures with sanitizers"; return; }
  targets=$(ctest --test-dir build/asan -N -R "$sanitized" | sed -nE 's/^ *Test +#[0-9]+: //p')
  # shellcheck disable=SC2086
  build asan $targets || { bad "builds with sanitizers"; return; }
  ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 run_tests asan build/asan -R "$sanitized"
}

leg_tsan() {
  local targets
  configure tsan -DHEED_LOWEST_LEVEL=ON -DHEED_BUILD_TESTS=ON -DHEED_BUILD_EXAMPLES=OFF || { bad "configures with ThreadSanitizer"; return; }
  targets=$(ctest --test-dir build/tsan -N -R "$threaded" | sed -nE 's/^ *Test +#[0-9]+: //p')
  if [ -z "$targets" ]; then
    bad "the threaded subset is empty"
    return
  fi
  # shellcheck disable=SC2086
  build tsan $targets || { bad "builds with ThreadSanitizer"; return; }
  HEED_THREADS=4 TSAN_OPTIONS=halt_on_error=1 run_tests tsan build/tsan -R "$threaded"
}

leg_distributed() {
  local message targets
  # MPI may have been installed after the folder was configured.
  configure release -DHEED_BUILD_TESTS=ON -DHEED_BUILD_EXAMPLES=ON || { bad "configures"; return; }
  targets=$(ctest --test-dir build/release -N -R '^distributed_.*_test$' | sed -nE 's/^ *Test +#[0-9]+: //p')
  # shellcheck disable=SC2086
  build release heed-ranks heed-lab $targets || { bad "builds"; return; }
  run_tests distributed build/release -R '^distributed_.*_test$'
  if [ ! -e build/release/bin/libheed_mpi.so ]; then
    skip "ranks under mpirun: heed was built without MPI (libopenmpi-dev)"
  elif ! command -v mpirun >/dev/null; then
    skip "ranks under mpirun: mpirun is not here (openmpi-bin)"
  else
    expect "heed-lab needs no MPI library" bash -c '! ldd build/release/bin/heed-lab | grep -q libmpi'
    expect "killed and stopped ranks are named" bash tests/distributed/kill.sh build/release 1 2
    if message=$(bash tests/distributed/hosts.sh --check); then
      expect "ranks in two network namespaces, with delay and loss" bash tests/distributed/hosts.sh build/release
    else
      skip "ranks in two network namespaces: $message"
    fi
  fi
  if message=$(bash tests/distributed/nccl.sh build/nccl); then
    expect "NCCL has the functions that are used" env HEED_NCCL="$message" build/release/tests/distributed_nccl_test
  else
    skip "NCCL's symbols: $message"
  fi
}

leg_arm() {
  local packages=/usr/lib/$(uname -m)-linux-gnu/cmake targets
  configure release -B build/arm -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64-linux-gnu.cmake" -DHEED_BUILD_TESTS=ON \
    -DHEED_BUILD_EXAMPLES=OFF -DHEED_EMULATED_DEVICE=OFF -DHEED_FMT_HEADER_ONLY=ON -Dfmt_DIR="$packages/fmt" -Dxsimd_DIR="$packages/xsimd" ||
    { bad "configures for ARM"; return; }
  targets=$(ctest --test-dir build/arm -N -R "$emulated" | sed -nE 's/^ *Test +#[0-9]+: //p')
  # shellcheck disable=SC2086
  build arm $targets || { bad "builds for ARM"; return; }
  HEED_THREADS=1 emulate build/arm qemu-aarch64 -L /usr/aarch64-linux-gnu
}

# counted label command…: the counts of a script whose last line reads "N passed, N failed, N skipped".
counted() {
  local label=$1 line
  shift
  line=$("$@" | tee >(cat >&2) | tail -n 1)
  if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
    echo "count $label ${BASH_REMATCH[*]:1}"
  else
    bad "$label ended without counts"
  fi
}

leg_emulator() { counted emulator tests/cuda_emulator/run.sh build/release "$jobs"; }

leg_cuda() {
  local file
  if ! command -v nvcc >/dev/null; then
    skip "nvcc: not installed"
    return
  fi
  counted gates python3 -B tests/cuda_gates.py --all --jobs "$jobs" --include build/release/include
  # Some of the kernels as nvcc's PTX, as minutes allow. All of them: ninja ptx_of_ops, and HEED_EMU_PTX as below.
  local name ptx=tests/cuda_emulator/ptx
  # shellcheck disable=SC2086
  build release $ptx/reduce.ptx $ptx/softmax.ptx $on_ptx ||
    { bad "makes PTX of kernels"; return; }
  for name in $on_ptx; do expect "$name runs nvcc's PTX" runs_ptx build/release/$ptx "build/release/tests/$name"; done
}

# runs_ptx folder program: its cases on the emulated accelerator, by the folder's PTX instead where that has the kernel.
runs_ptx() {
  local said
  said=$(HEED_EMU_PTX=$1 timeout 300 "$2" --minimal=true --test-case='an emulated accelerator*' 2>&1) ||
    { echo "$said" | tail -n 40; return 1; }
  grep '^PTX: ' <<<"$said"
  grep -q '^PTX: [1-9][0-9]* launches of .* kernels, 0 failed' <<<"$said"
}

# ---- running them -------------------------------------------------------------------------------------------------------
all=0 only="" leg=""
jobs=$(nproc)
usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=1 ;;
    --only) only=${2:?--only needs a list of legs}; shift ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift ;;
    --leg) leg=${2:?}; shift ;; # one leg in this process, as the loop below calls it
    --list) echo "$legs_all" | sed 1d; exit ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
export HEED_JOBS=$jobs

if [ -n "$leg" ]; then
  "leg_$leg"
  exit
fi

packages=$build_packages
legs=$legs_plain
if [ $all = 1 ] || [ -n "$only" ]; then
  packages="$packages $all_packages"
  legs=$legs_all
fi
# shellcheck disable=SC2086
install_packages $packages || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }

mkdir -p build/logs
child=""
trap 'kill -TERM $child 2>/dev/null; echo "interrupted"; exit 130' INT TERM  # timeout passes it on to the whole leg
passed=0 failed=0 skipped=0 summary=""
all_option=()
[ $all = 1 ] && all_option=(--all)
while read -r name limit what; do
  [ -n "$name" ] || continue
  if [ -n "$only" ] && [[ ",$only," != *",$name,"* ]]; then continue; fi
  echo "=== $name: $what (at most $limit min)"
  log=build/logs/$name.log
  start=$SECONDS
  timeout --kill-after=10 "$((3 * limit))m" bash tests/run.sh "${all_option[@]}" --jobs "$jobs" --leg "$name" >"$log" 2>&1 &
  child=$!
  wait $child
  status=$?
  seconds=$((SECONDS - start))
  if [ $status -eq 124 ] || [ $status -eq 137 ]; then
    echo "not ok - $name was stopped after three times its $limit minutes" >>"$log"
  fi
  if [ $status -ne 0 ] && ! grep -q '^not ok' "$log"; then echo "not ok - $name ended with status $status" >>"$log"; fi
  # shellcheck disable=SC2046
  read -r p f s < <(awk '/^ok - /{p++} /^not ok - /{f++} /^skip - /{s++} /^count /{p+=$3; f+=$4; s+=$5}
                         END{print p+0, f+0, s+0}' "$log")
  if [ "$((p + f + s))" -eq 0 ]; then f=1 && echo "not ok - $name checked nothing" >>"$log"; fi
  if [ "$f" -gt 0 ]; then grep -vE '^\[[0-9]+/[0-9]+\] ' "$log" | tail -n 120; else grep -E '^(ok|skip|count) |^  skipped' "$log"; fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  over=""
  if [ "$seconds" -gt $((60 * limit)) ]; then over="  over its budget"; fi
  summary+=$(printf '%-10s %4d passed %3d failed %3d skipped  %3d:%02d of %2d min%s' \
    "$name" "$p" "$f" "$s" $((seconds / 60)) $((seconds % 60)) "$limit" "$over")$'\n'
done <<<"$legs"

echo "=== minutes"
printf '%s' "$summary"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
