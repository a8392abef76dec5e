#!/usr/bin/env bash
# From a fresh clone to a symptom and its cure: ./examples/quickstart.sh [--text FILE] [option of heed-lab train…]
# Installs what is missing by apt and builds heed-lab. Compares three kinds of attention on associative recall, whose
# answers are known; then trains a transformer on the licence texts that every Debian system holds (or on FILE), lets it
# write, and measures what its attention depends on.
set -euo pipefail
started=$SECONDS
called_from=$PWD
cd "$(dirname "$0")/.."
source cmake/setup.sh

text="" preset=quick out=runs/quickstart
options=()
while [ $# -gt 0 ]; do
  case $1 in
    --text) text=${2:?--text needs a file}; shift ;;
    --text=*) text=${1#--text=} ;;
    --preset) preset=${2:?--preset needs a name}; shift ;;
    --preset=*) preset=${1#--preset=} ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    --out=*) out=${1#--out=} ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit ;;
    *) options+=("$1") ;;
  esac
  shift
done
# Paths are the caller's.
case $text in "" | /*) ;; *) text=$called_from/$text ;; esac
case $out in runs/quickstart | /*) ;; *) out=$called_from/$out ;; esac
if [ -n "$text" ] && [ ! -r "$text" ]; then
  echo "quickstart: cannot read the text '$text'. Remedy: name a readable file after --text." >&2
  exit 2
fi

# The training text: the licences of base-files in a fixed order; symbolic links (GPL -> GPL-3) would repeat them.
collect_text() {
  local folder=/usr/share/common-licenses files
  files=$(find $folder -maxdepth 1 -type f 2>/dev/null | LC_ALL=C sort)
  if [ -z "$files" ]; then
    echo "No licence texts in $folder: training on heed's own sources." >&2
    files=$(find engine nn optim -name '*.h' -o -name '*.cpp' | LC_ALL=C sort)
  fi
  # Files of the same content are taken once.
  # shellcheck disable=SC2086
  sha256sum $files | LC_ALL=C sort -s -k1,1 -u | awk '{print $2}' | LC_ALL=C sort | xargs cat
}

# shellcheck disable=SC2086
install_packages $build_packages
mkdir -p build "$out"
echo "Building heed-lab (log: build/quickstart.log)"
if ! { configure release -DHEED_BUILD_EXAMPLES=ON && build release heed-lab; } >build/quickstart.log 2>&1; then
  tail -n 40 build/quickstart.log >&2
  echo "quickstart: the build failed; see build/quickstart.log." >&2
  exit 1
fi
echo "Built after $((SECONDS - started)) s"

if [ -z "$text" ]; then
  text=$out/text.txt
  collect_text >"$text"
fi
lab=build/release/bin/heed-lab
run() { echo && echo "\$ $*" && "$@"; }
# Softmax attention, the same with a way to attend to nothing, and the delta rule: which recalls after 800 steps?
rm -f "$out/recall/journal.jsonl"
run $lab compare --attention multi-head,softmax-1,delta --task mqar:pairs=4,length=24,vocabulary=20 --seeds 5 \
  --layers 2 --heads 1 --dim 32 --steps 800 --learning-rates 3e-3,1e-2 --evaluation 256 \
  --symptoms loss,accuracy,sink --out "$out/recall"
run $lab train --preset "$preset" --text "$text" --out "$out" ${options[@]+"${options[@]}"}
run $lab generate "$out" --tokens 400
run $lab inspect "$out" --report "$out/report.html"
echo
echo "Reports: $(realpath "$out")/recall/report.html and $(realpath "$out")/report.html (open them in a browser), after $((SECONDS - started)) s in all"
