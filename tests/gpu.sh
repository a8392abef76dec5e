#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the CUDA module, runs the tests of operations and the training test on the GPU
# itself, then under compute-sanitizer's tools where it is installed, trains with heed-lab, measures beside PyTorch (cuBLAS,
# FlashAttention) where that is installed, and writes one dated report.
#   tests/gpu.sh [--out FILE]        (default: gpu-report-DATE.txt)
set -uo pipefail
cd "$(dirname "$0")/.."
out="gpu-report-$(date +%Y-%m-%d-%H%M).txt"
[ "${1:-}" = --out ] && out=${2:?--out needs a file}

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
  echo "tests/gpu.sh: there is no NVIDIA GPU with a working driver here (nvidia-smi -L lists none), so nothing was run." >&2
  exit 2
fi
if ! command -v nvcc >/dev/null; then
  echo "tests/gpu.sh: nvcc is not on PATH, so the CUDA module cannot be built." >&2
  exit 2
fi

passed=0 failed=0 skipped=0
say() { tee -a "$out"; }
run() { # name command…
  local name=$1
  shift
  if "$@" >"$log" 2>&1; then echo "ok - $name" | say && passed=$((passed + 1)); else
    { echo "not ok - $name" && tail -n 25 "$log"; } | say
    failed=$((failed + 1))
  fi
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

{
  date
  nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv
  nvcc --version | tail -n 2
  git log -1 --format='heed %h, %ad' --date=short
} | say
run "configures" cmake --preset cuda -G Ninja
run "the CUDA module builds" cmake --build build/cuda --target heed_cuda all
export HEED_TEST_DEVICE=cuda:0 HEED_CUDA_MODULE=$PWD/build/cuda/bin/libheed_cuda.so
tests=$(cd build/cuda/tests && ls -- ops_*_test emulated_training_test)
for test in $tests; do
  run "$test on the GPU" "build/cuda/tests/$test" -tc='*accelerator*'
  grep -h MESSAGE "$log" | sed 's/.*MESSAGE: /       /' | cut -c1-160 | say
done
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    for test in ops_reduce_test ops_neural_test ops_product_test ops_attend_test ops_scan_test ops_conv_test ops_index_test ops_sort_test; do
      run "$test under compute-sanitizer's $tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "build/cuda/tests/$test" \
        -tc='*accelerator*'
    done
  done
else
  echo "skipped - compute-sanitizer is not installed" | say
  skipped=$((skipped + 1))
fi
work=$(mktemp -d)
trap 'rm -rf "$log" "$work"' EXIT
run "heed-lab trains there" build/cuda/bin/heed-lab train --preset quick --steps 200 --text LICENSE --out "$work" --device cuda:0
tail -n 3 "$log" | say
run "heed-lab generates there" build/cuda/bin/heed-lab generate "$work" --tokens 100 --device cuda:0
run "speed, beside PyTorch where it is installed" python3 tests/peers/device_bench.py --device cuda:0
say <"$log"
run "registers, spills and instructions of hot kernels" python3 -B tests/cuda_gates.py --include build/cuda/include
echo "$passed passed, $failed failed, $skipped skipped" | say
echo "written to $out"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
