#!/usr/bin/env bash
# isa_leak.sh BUILD: no code compiled for AVX2 or AVX-512 may be reached on a processor without them, except through the
# kernel tables. The danger is an inline function that two levels share: the linker keeps one copy for both.
set -uo pipefail
build=$1
report() { if [ -z "$2" ]; then echo "ok - $1"; else echo "not ok - $1"; echo "$2" | head -n 10; fi; }

objects=("$build"/simd/*.o)
[ -f "${objects[0]}" ] || { echo "not ok - no kernel objects in $build/simd"; exit 1; }

report "kernel objects (${#objects[@]}) show nothing but their table" \
  "$(for object in "${objects[@]}"; do
    symbols=$(nm --defined-only "$object" | awk '$2 ~ /[A-Z]/ || $2 == "w" || $2 == "v" || $2 == "u"')
    count=$(echo "$symbols" | grep -c '_kernelsE$')
    [ "$count" -ge 1 ] || echo "$object: no table"
    echo "$symbols" | grep -v '_kernelsE$' | sed "s|^|$object: |"
  done | grep -v ': $')"

report "kernel objects run no code at start-up" \
  "$(for object in "${objects[@]}"; do
    objdump -h "$object" | awk '$2 ~ /^\.(init_array|ctors)/ {print $2}' | sed "s|^|$object: |"
  done)"

# In a linked program, an instruction with a v… mnemonic (VEX or EVEX coded) may stand only in a local symbol that an
# object of that level defines; zmm registers only in one of AVX-512.
local_symbols() { nm --defined-only "$@" 2>/dev/null | awk '$2 == "t" {print $3}' | sort -u; }
allowed=$(mktemp) wide=$(mktemp) global=$(mktemp) used=$(mktemp)
trap 'rm -f "$allowed" "$wide" "$global" "$used"' EXIT
local_symbols "$build"/simd/*_avx2.o "$build"/simd/*_avx512.o >"$allowed"
local_symbols "$build"/simd/*_avx512.o >"$wide"
for program in "$build"/tests/kernels_*_test "$build"/bin/heed-lab; do
  [ -x "$program" ] || { echo "not ok - $program is there"; continue; }
  nm --defined-only "$program" | awk '$2 ~ /[A-Z]/ || $2 == "w" || $2 == "u" {print $3}' | sort -u >"$global"
  # symbol, widest class seen: v (VEX coded) or z (zmm)
  objdump -d --no-show-raw-insn "$program" | awk '
    /^[0-9a-f]+ <.*>:$/ { symbol = substr($2, 2, length($2) - 3); next }
    $2 ~ /^v[a-z0-9]+$/ && $2 !~ /^(verr|verw|vmcall|vmfunc)$/ { seen[symbol] = (seen[symbol] == "z" || /%zmm/) ? "z" : "v" }
    END { for (symbol in seen) print symbol, seen[symbol] }' | sort >"$used"
  name=$(basename "$program")
  report "$name: AVX code ($(wc -l <"$used") functions) only in kernels of its level" \
    "$({
      [ -s "$used" ] || echo "found none at all: the scan is broken"
      join -v 1 "$used" "$allowed" | sed 's/$/: not of a kernel object/'
      awk '$2 == "z" {print $1}' "$used" | join -v 1 - "$wide" | sed 's/$/: zmm outside AVX-512 objects/'
      join "$used" "$global" | sed 's/$/: a global symbol/'
    })"
done
