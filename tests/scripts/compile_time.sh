#!/usr/bin/env bash
# compile_time.sh BUILD: the CPU seconds that g++ -O2 takes for a user's file, best of three.
set -uo pipefail
build=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/user.cpp" <<'CPP'
#include <heed/nn/nn.h>
heed::Tensor user(heed::nn::Linear const& layer, heed::Tensor const& x) { return heed::relu(layer(x)); }
CPP
limit=3.0
best=999
TIMEFORMAT=%U
for _ in 1 2 3; do
  seconds=$({ time g++ -std=c++20 -O2 -I"$build/include" -c "$folder/user.cpp" -o "$folder/user.o" >&2; } 2>&1) ||
    { echo "$seconds"; echo "not ok - a user's file with heed/nn/nn.h compiles"; exit 1; }
  best=$(awk -v a="$best" -v b="$seconds" 'BEGIN{print a < b ? a : b}')
done
if awk -v a="$best" -v b="$limit" 'BEGIN{exit !(a <= b)}'; then verdict=ok; else verdict="not ok"; fi
echo "$verdict - a user's file with heed/nn/nn.h compiles in $best s of CPU time (wanted: 2.0, allowed: $limit)"
