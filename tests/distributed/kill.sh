#!/usr/bin/env bash
# kill.sh BUILD [TIMES] [TIMEOUT [FAILURE CALL]]: under mpirun, one of three ranks fails in the midst of each collective, TIMES times (10);
# prints what became of the others: how many ended by an error that names the rank, and seconds from the failure to the error.
# By itself mpirun ends a job in which a rank dies or returns an error; --enable-recovery keeps it from that, so that the
# survivors are heard.
set -uo pipefail
ranks=$1/bin/heed-ranks times=${2:-10}
export HEED_DISTRIBUTED_TIMEOUT=${3:-3} HEED_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
said=$(mktemp)
trap 'rm -f "$said"' EXIT
wrong=0

# failure way call: one row of the table.
failure() {
  local how=$1 call=$2 time row
  : >"$said"
  for ((time = 0; time < times; ++time)); do
    echo "run $time" >>"$said"
    mpirun --oversubscribe --bind-to none --enable-recovery -n 3 "$ranks" fail "$call" "$how" $((150 + 37 * time)) \
      >>"$said" 2>&1 &
    wait_for_survivors $!
  done
  row=$(python3 - "$said" "$how" "$call" <<'PY'
import re, statistics, sys
victims, named, seconds, example, others = 0, 0, [], "", []
for run in open(sys.argv[1], errors="replace").read().split("run ")[1:]:
    at = re.search(r"victim at ([\d.]+)", run)
    if not at:
        continue
    victims += 1
    for when, text in re.findall(r"survivor [02] at ([\d.]+): (.*)", run):
        if re.search(r"rank 1 |ranks 1 ", text):
            named += 1
            seconds.append(float(when) - float(at.group(1)))
            example = text.split(". Remedy")[0]
        else:
            others.append(text)
    if run.count("survivor") < 2:
        others.append("only: " + run.replace("\n", " | "))
line = f"{sys.argv[2]:6} {sys.argv[3]:15} {victims:5} {named:5} of {2 * victims:3}"
if seconds:
    line += f"  {min(seconds):6.2f} {statistics.median(seconds):6.2f} {max(seconds):6.2f}   {example}"
print("\n       but: ".join([line, *others]))
sys.exit(named != 2 * victims or not victims)
PY
  ) || wrong=1
  echo "$row"
}

# Once both survivors have spoken nothing is left to see; a rank that stands still is taken away.
wait_for_survivors() {
  local k
  for ((k = 0; k < 10 * (HEED_DISTRIBUTED_TIMEOUT + 15); ++k)); do
    kill -0 "$1" 2>/dev/null || break
    [ "$(sed -n "/^run $time\$/,\$p" "$said" | grep -c '^survivor [02]')" -ge 2 ] && break
    sleep 0.1
  done
  local processes
  processes="$1 $(ps -o pid= --ppid "$1")"
  # shellcheck disable=SC2086
  kill -KILL $processes 2>/dev/null
  wait "$1" 2>/dev/null
}

echo "the timeout is $HEED_DISTRIBUTED_TIMEOUT s; seconds are least, median and most"
echo "how    call            runs  named         s               what a survivor says"
if [ $# -gt 4 ]; then # these alone
  failure "$4" "$5"
  exit $wrong
fi
for call in all_reduce reduce_scatter all_gather broadcast barrier send receive; do
  failure kill $call
  failure stop $call
done
for how in throw exit late; do failure $how all_reduce; done
for how in late stop; do failure $how connect; done
exit $wrong
