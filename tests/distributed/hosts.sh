#!/usr/bin/env bash
# hosts.sh BUILD [DELAY [LOSS]]: two network namespaces joined by a cable stand for two hosts; one rank runs in each, under
# one mpirun, on a cable that delays nothing, then one of DELAY seconds (0.005) each way, then one that also loses LOSS (0.01)
# of the packets. Every collective must give the bits that threads give; prints latency and bandwidth. Needs root. The cable
# is a program (cable.py), as many kernels have no netem: what the first line measures is mostly it.
# hosts.sh --check: whether this machine allows it, and what it refuses.
set -uo pipefail
folder=$(mktemp -d)
here=$(dirname "$(realpath "$0")")
one=heed-$$-1 two=heed-$$-2 cable=""
tidy() {
  [ -n "$cable" ] && kill "$cable"
  ip netns delete $one
  ip netns delete $two
  rm -rf "$folder"
} 2>/dev/null
trap tidy EXIT

# lay DELAY LOSS: a new cable.
lay() {
  [ -n "$cable" ] && { kill "$cable"; wait "$cable"; } 2>/dev/null
  python3 -B "$here/cable.py" $one $two "$1" "$2" >"$folder/cable" 2>&1 &
  cable=$!
  for _ in $(seq 50); do
    grep -q '^ready' "$folder/cable" && return 0
    kill -0 $cable 2>/dev/null || break
    sleep 0.1
  done
  return 1
}

if [ "$(id -u)" -ne 0 ]; then echo "only root may make network namespaces"; exit 1; fi
for tool in ip mpirun python3; do
  command -v $tool >/dev/null || { echo "$tool is not here"; exit 1; }
done
if ! message=$({ ip netns add $one && ip netns add $two; } 2>&1); then echo "the system refuses network namespaces: $message"; exit 1; fi
if ! lay 0 0; then echo "the system refuses a cable: $(tail -n 1 "$folder/cable")"; exit 1; fi
if [ "$1" = --check ]; then exit 0; fi

ranks=$(realpath "$1")/bin/heed-ranks delay=${2:-0.005} loss=${3:-0.01} wrong=0
export HEED_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# mpirun starts its helper on the other host by "agent [option…] host command…"; there is one other host.
cat >"$folder/agent" <<EOF
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
shift
exec ip netns exec $two unshare --uts sh -c "hostname $two; \$*"
EOF
chmod +x "$folder/agent"

on_hosts() {
  timeout -s KILL 200 ip netns exec $one mpirun --host 10.77.0.1:1,10.77.0.2:1 --bind-to none --mca plm rsh \
    --mca plm_rsh_agent "$folder/agent" --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
    --mca oob_tcp_if_include 10.77.0.0/24 -n 2 "$ranks" "$@" 2>"$folder/said" || { cat "$folder/said"; return 1; }
}

want=$("$ranks" threads 2 exercise 0,33,20001 | sort)
round() {
  local got
  echo "two hosts, $1 s of delay each way, a share of $2 lost"
  lay "$1" "$2" || wrong=1
  got=$(on_hosts exercise 0,33,20001 | sort)
  if [ -z "$got" ] || [ "$got" != "$want" ]; then
    echo "  WRONG: threads gave $want, hosts gave $got"
    wrong=1
  fi
  got=$(on_hosts bench "$3" few) || wrong=1
  echo "  $got"
}
round 0 0 $((16 << 20))
round "$delay" 0 $((4 << 20))
round "$delay" "$loss" $((1 << 20))
exit $wrong
