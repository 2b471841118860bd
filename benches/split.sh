#!/usr/bin/env bash
# The observed split beside the intended one: 100,000 requests through the gateway at each weight, and whether what the
# canary got is within binomial bounds (p > 0.001, two sides: |z| < 3.29). Also whether the gateway's counts are what it
# sent. `benches/split.sh` needs nginx (Debian: apt-get install nginx-light) as the two backends. The figures come last.
set -euo pipefail
cd "$(dirname "$0")/.."
BASE=${BASE:-28450} REQUESTS=${REQUESTS:-100000} RATE=${RATE:-20000}

command -v nginx >/dev/null || { echo "please install: nginx (Debian: apt-get install nginx-light)" >&2; exit 1; }
cargo build --release --quiet --package davy-gateway --bins --examples
target=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

stable=127.0.0.1:$((BASE + 1)) canary=127.0.0.1:$((BASE + 2))
cat >"$folder/backend.conf" <<END
worker_processes 1; pid $folder/backend.pid; error_log stderr error; daemon off;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
  server { listen $stable; listen $canary; location / { return 200 "ok"; } } }
END
nginx -c "$folder/backend.conf" -p "$folder" 2>"$folder/backend.log" & pids+=($!)

outside=0
for weight in 100 500 1000 2500 5000; do
  run=$folder/$weight
  mkdir -m 700 "$run"
  "$target/davy-gateway" --listen 127.0.0.1:0 --threads 2 --control "$run/control" --state "$run/state" 2>"$run/log" & gateway=$!
  pids+=("$gateway")
  for _ in $(seq 100); do [ -S "$run/control" ] && break; sleep 0.05; done
  mkfifo "$run/questions"
  "$target/examples/serve" --control "$run/control" "$((10000 - weight))=$stable" "$weight=$canary" <"$run/questions" >"$run/counts" & asked=$!
  pids+=("$asked")
  exec 3>"$run/questions"
  for _ in $(seq 100); do grep -q serving "$run/counts" && break; sleep 0.05; done
  "$target/examples/load" --to "$(cat "$run/state/listen")" --rate "$RATE" --requests "$REQUESTS" --seed "$weight" >"$run/load"
  grep -q "\"answered\":$REQUESTS,\"failed\":0," "$run/load" || { echo "requests failed:"; cat "$run/load"; exit 1; }
  echo >&3
  exec 3>&-
  wait "$asked"
  kill "$gateway"
  counted() { tail -1 "$run/counts" | sed "s/.*\"$1\":{\"answered\":\([0-9]*\).*/\1/"; }
  awk -v n="$REQUESTS" -v w="$weight" -v stable="$(counted v1)" -v canary="$(counted v2)" 'BEGIN {
    p = w / 10000; z = (canary - n * p) / sqrt(n * p * (1 - p)); within = (z < 3.29 && z > -3.29 && stable + canary == n)
    printf "%5.2f %%: %d of %d requests went to the canary (%.3f %%, z = %+.2f), %d were counted: %s\n",
      w / 100, canary, n, 100 * canary / n, z, stable + canary, within ? "within" : "OUTSIDE"
    exit !within }' >>"$folder/figures" || outside=1
done
echo "== figures"
cat "$folder/figures"
exit "$outside"
