#!/usr/bin/env bash
# nccl.sh FOLDER: fetches NCCL from PyPI (half a gigabyte) into FOLDER unless it is there; prints the library's path, or
# why there is none.
set -uo pipefail
folder=$1
if [ -n "${HEED_NCCL:-}" ]; then
  echo "$HEED_NCCL"
  exit 0
fi
find_library() { find "$folder" -name libnccl.so.2 2>/dev/null | head -n 1; }
if [ -z "$(find_library)" ]; then
  mkdir -p "$folder"
  python3 -m pip --version >/dev/null 2>&1 || { echo "pip is not here"; exit 1; }
  python3 -m pip download -q --no-deps -d "$folder" nvidia-nccl-cu13 >"$folder/log" 2>&1 || { echo "pip cannot fetch nvidia-nccl-cu13"; exit 1; }
  python3 -m zipfile -e "$folder"/*.whl "$folder/wheel" && rm -f "$folder"/*.whl
fi
find_library | grep . || { echo "the package holds no libnccl.so.2"; exit 1; }
