#!/usr/bin/env bash
# The gateway beside nginx and HAProxy, one worker thread each: a 90/10 split over two backends, small bodies, keep-alive
# on both sides, the gateway counting. All in one run, alternating, so that what else the machine does harms all alike.
#
#   benches/gateway.sh            CPU per request at the peak (ROUNDS=9 of SECONDS_EACH=3), then p99 in open loop at half of
#                                 nginx's peak rate, then the memory at 1,000 connections and with 10,000 idle ones
#   PINGORA=1 benches/gateway.sh  the same with a proxy on the library that was not taken (benches/pingora), to compare
#   ONLY=tls benches/gateway.sh   only TLS and HTTP/2 beside nginx's
#   ONLY=memory benches/gateway.sh   only the memory
#
# "full" is the gateway with every feature on: TLS with certificates, an access log, metrics, limits; the figures of it are
# of plain HTTP/1.1 where they do not say TLS. The figures come last; one that is missed ends it with exit 1. Needs nginx, haproxy, wrk, h2load, openssl (Debian: apt-get install
# nginx-light haproxy wrk nghttp2-client openssl) and two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
ROUNDS=${ROUNDS:-9} SECONDS_EACH=${SECONDS_EACH:-3} BASE=${BASE:-28400} CONNECTIONS=${CONNECTIONS:-32}

missing=()
for tool in nginx haproxy wrk h2load openssl taskset; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
  echo "please install: ${missing[*]} (Debian: apt-get install nginx-light haproxy wrk nghttp2-client openssl util-linux)" >&2
  exit 1
fi
# What ships is measured, with link-time optimisation; PROFILE=release measures the quick build.
PROFILE=${PROFILE:-dist}
cargo build --profile "$PROFILE" --quiet --package davy-gateway --bins --examples
target=${CARGO_TARGET_DIR:-target}/${PROFILE/#dev/debug}
contestants="davy full nginx haproxy"
if [ -n "${PINGORA:-}" ]; then
  contestants+=" pingora"
  pingora=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/pingora}
  pingora=${pingora:-$PWD/benches/pingora/target}
  cargo build --release --quiet --locked --manifest-path benches/pingora/Cargo.toml --target-dir "$pingora"
fi
folder=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

stable=127.0.0.1:$((BASE + 1)) canary=127.0.0.1:$((BASE + 2))
declare -A at=([davy]=127.0.0.1:$((BASE + 3)) [nginx]=127.0.0.1:$((BASE + 4)) [haproxy]=127.0.0.1:$((BASE + 5)) [pingora]=127.0.0.1:$((BASE + 7)) [full]=127.0.0.1:$((BASE + 8)))
# The same two with TLS; nginx wants a port of its own for HTTP/2 without TLS.
declare -A tls=([full]=127.0.0.1:$((BASE + 9)) [nginx]=127.0.0.1:$((BASE + 10)))
declare -A h2c=([full]=${at[full]} [nginx]=127.0.0.1:$((BASE + 11)))
declare -A process=()

cat >"$folder/backend.conf" <<END
worker_processes 1; pid $folder/backend.pid; error_log stderr error; daemon off;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
  server { listen $stable; listen $canary; location / { default_type text/plain; return 200 "a small body of 32 bytes, so it is"; } } }
END
mkdir "$folder/certificates"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=shop.test -addext subjectAltName=DNS:shop.test \
  -keyout "$folder/certificates/shop.test.key" -out "$folder/certificates/shop.test.crt" 2>/dev/null
chmod 600 "$folder/certificates/shop.test.key"
cat >"$folder/nginx.conf" <<END
worker_processes 1; pid $folder/nginx.pid; error_log stderr error; daemon off;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
  upstream both { server $stable weight=9; server $canary weight=1; keepalive 128; keepalive_requests 100000000; }
  ssl_certificate $folder/certificates/shop.test.crt; ssl_certificate_key $folder/certificates/shop.test.key;
  server { listen ${at[nginx]}; listen ${tls[nginx]} ssl http2; listen ${h2c[nginx]} http2;
    location / { proxy_pass http://both; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host \$host; proxy_set_header X-Forwarded-For \$remote_addr;
      proxy_set_header X-Forwarded-Proto \$scheme; proxy_set_header X-Forwarded-Host \$host; } } }
END
cat >"$folder/haproxy.cfg" <<END
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 30s
  http-reuse always
frontend front
  bind ${at[haproxy]}
  default_backend both
backend both
  balance random
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  server stable $stable weight 90 pool-max-conn 128
  server canary $canary weight 10 pool-max-conn 128
END

# The proxy under test has a core of its own; load and backends share the other.
taskset -c 1 nginx -c "$folder/backend.conf" -p "$folder" 2>"$folder/backend.log" & pids+=($!)
taskset -c 0 nginx -c "$folder/nginx.conf" -p "$folder" 2>"$folder/nginx.log" & pids+=($!) process[nginx]=$!
taskset -c 0 haproxy -q -f "$folder/haproxy.cfg" 2>"$folder/haproxy.log" & pids+=($!) process[haproxy]=$!
if [ -n "${PINGORA:-}" ]; then
  taskset -c 0 "$pingora/release/pingora-split" "${at[pingora]}" "$stable" "$canary" 2>"$folder/pingora.log" & pids+=($!) process[pingora]=$!
fi
# A gateway in a folder of its own, named $1, listening at $2, told the words after that; its process is in $started.
gateway() {
  mkdir -m 700 "$folder/$1"
  taskset -c 0 "$target/davy-gateway" --listen "$2" --threads 1 --control "$folder/$1/control" --state "$folder/$1/state" \
    --connections 30000 --connections-per-client 30000 "${@:3}" 2>"$folder/$1/log" & pids+=($!) started=$!
  for _ in $(seq 100); do [ -S "$folder/$1/control" ] && break; sleep 0.05; done
}
# The same with every feature on; TLS at $3, metrics at $4.
full() {
  gateway "$1" "$2" --tls "$3" --certificates "$folder/certificates" --redirect off --access-log "$folder/$1.log" --metrics "$4" \
    --body-limit 1GiB
  serves "$1"
}
serves() { "$target/examples/serve" --control "$folder/$1/control" "9000=$stable" "1000=$canary" </dev/null >/dev/null; }
gateway run "${at[davy]}"
process[davy]=$started
full all "${at[full]}" "${tls[full]}" "127.0.0.1:$((BASE + 12))"
process[full]=$started
mkfifo "$folder/questions"
"$target/examples/serve" --control "$folder/run/control" "9000=$stable" "1000=$canary" <"$folder/questions" >"$folder/counts" & pids+=($!)
exec 3>"$folder/questions"
for _ in $(seq 100); do grep -q serving "$folder/counts" && break; sleep 0.05; done

# Nanoseconds of CPU that a process and its children have used, all threads.
cpu() {
  local sum=0 task
  for pid in "$1" $(cat "/proc/$1/task/$1/children"); do
    for task in /proc/"$pid"/task/*/schedstat; do sum=$((sum + $(cut -d' ' -f1 "$task"))); done
  done
  echo "$sum"
}
median() { sort -g | awk '{ all[NR] = $1 } END { print (NR % 2) ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'; }
# The contestants, turned round in every second round.
in_order() { if [ $(($1 % 2)) = 0 ]; then tr ' ' '\n' <<<"$contestants" | tac; else echo "$contestants"; fi; }
told() { for who in $contestants; do printf '%s %s  ' "$who" "$(tail -1 "$folder/$1.$who")"; done; }
ratios() { paste "$folder/$1" "$folder/$2" | awk '{ print $1 / $2 }'; }
missed=0
# A figure beside what is to be reached: `figure WHAT VALUE most|least LIMIT`.
figure() {
  local sign=1
  if [ "$3" = least ]; then sign=-1; fi
  if awk -v value="$2" -v limit="$4" -v sign=$sign 'BEGIN { exit !(value != "" && sign * value <= sign * limit) }'; then
    echo "$1: $2 (to reach: $4 at $3)"
  else
    echo "MISSED: $1: $2 (to reach: $4 at $3)"
    missed=1
  fi
}

# Requests per second and CPU per request of HTTP/2 and TLS, in turns.
beside() {
  echo "TLS and HTTP/2, $ROUNDS rounds of $SECONDS_EACH s, $CONNECTIONS connections"
  local round who kind words before after requests
  for round in $(seq "$ROUNDS"); do
    for who in $( ((round % 2)) && echo "full nginx" || echo "nginx full"); do
      for kind in h2c tls-h2 tls-h1; do
        case $kind in
          h2c) words="-m 10 http://${h2c[$who]}/item" ;;
          tls-h2) words="-m 10 https://${tls[$who]}/item" ;;
          tls-h1) words="--h1 https://${tls[$who]}/item" ;;
        esac
        before=$(cpu "${process[$who]}")
        # shellcheck disable=SC2086
        taskset -c 1 h2load -t1 -c"$CONNECTIONS" -D"$SECONDS_EACH" $words >"$folder/h2load" 2>&1
        after=$(cpu "${process[$who]}")
        requests=$(awk '/^status codes/ { print $3 }' "$folder/h2load")
        if ! grep -q " 0 4xx, 0 5xx" "$folder/h2load" || [ "$requests" = 0 ]; then echo "$who failed $kind:"; cat "$folder/h2load"; exit 1; fi
        awk -v n="$requests" -v s="$SECONDS_EACH" 'BEGIN { print n / s }' >>"$folder/rate.$kind.$who"
        awk -v cpu=$((after - before)) -v n="$requests" 'BEGIN { printf "%.3f\n", cpu / n / 1000 }' >>"$folder/cpu.$kind.$who"
      done
    done
  done
  # Handshakes: a connection for each request.
  for who in full nginx; do
    before=$(cpu "${process[$who]}")
    taskset -c 1 h2load -t1 -c400 -n400 --h1 "https://${tls[$who]}/item" >"$folder/h2load" 2>&1
    after=$(cpu "${process[$who]}")
    awk -v cpu=$((after - before)) 'BEGIN { printf "%.0f\n", cpu / 400 / 1000 }' >"$folder/shake.$who"
  done
  echo
  echo "== TLS and HTTP/2 (medians; every feature of the gateway is on)"
  for kind in h2c tls-h2 tls-h1; do
    for who in full nginx; do
      echo "$kind $who: $(median <"$folder/rate.$kind.$who") requests/s, $(median <"$folder/cpu.$kind.$who") µs of CPU per request"
    done
    echo "$kind: requests/s, davy / nginx: $(ratios "rate.$kind.full" "rate.$kind.nginx" | median)"
    figure "$kind: CPU per request, davy / nginx" "$(ratios "cpu.$kind.full" "cpu.$kind.nginx" | median)" most 1.4
  done
  echo "µs of CPU for a handshake and a request: davy $(cat "$folder/shake.full"), nginx $(cat "$folder/shake.nginx")"
}

resident() { awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
# The memory of gateways that have done nothing else yet, plain and with every feature on: with 1,000 connections, then with 10,000
# that were used once; those of TLS, too.
memory() {
  local who port=$((BASE + 13)) load wrk
  for who in plain full; do
    if [ "$who" = full ]; then full few-full "127.0.0.1:$port" "127.0.0.1:$((port + 1))" "127.0.0.1:$((port + 2))"; else gateway few-plain "127.0.0.1:$port"; serves few-plain; fi
    resident "$started" >"$folder/rest.$who"
    taskset -c 1 "$target/examples/load" --to "127.0.0.1:$port" --rate 4000 --seconds 3 --connections 1000 >"$folder/load.$who" & load=$!
    sleep 2.5
    resident "$started" >"$folder/used.$who"
    wait "$load"
    taskset -c 1 wrk -t1 -c1000 -d3s "http://127.0.0.1:$port/item" >"$folder/wrk" & wrk=$!
    sleep 2
    resident "$started" >"$folder/busy.$who"
    wait "$wrk"
    kill "$started"
    port=$((port + 3))
  done
  for who in plain full TLS; do
    if [ $who = plain ]; then gateway many-plain "127.0.0.1:$port"; serves many-plain; else full "many-$who" "127.0.0.1:$port" "127.0.0.1:$((port + 1))" "127.0.0.1:$((port + 2))"; fi
    idle "$([ $who = TLS ] && echo $((port + 1)) || echo $port)" "$started" $who >"$folder/idle.$who"
    kill "$started"
    port=$((port + 3))
  done
}
# The memory after 10,000 connections to port $1 of process $2 were used once and left alone; each of 100 still answers.
idle() {
  (ulimit -n "$(ulimit -Hn)" && python3 - "$@") <<'END'
import socket, ssl, sys, time
port, pid, who = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
def opened():
    one = socket.create_connection(("127.0.0.1", port))
    return context.wrap_socket(one, server_hostname="shop.test") if who == "TLS" else one
def ask(one):
    one.sendall(b"GET /item HTTP/1.1\r\nhost: shop.test\r\n\r\n")
    assert one.recv(4096).startswith(b"HTTP/1.1 200")
kept = []
for _ in range(10_000):
    kept.append(opened())
    ask(kept[-1])
time.sleep(3)
asleep = next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS")) / 1024
for one in kept[::100]:
    ask(one)
print(f"{asleep:.1f}")
END
}
# How memory was, beside what is to be reached.
remembered() {
  local who
  echo "== memory, MB resident"
  for who in plain full; do
    grep -q '"failed":0,' "$folder/load.$who" || { echo "$who failed:"; cat "$folder/load.$who"; exit 1; }
    echo "$who: $(cat "$folder/rest.$who") at rest; $(cat "$folder/busy.$who") with a request under way on each of 1,000 connections at all times"
  done
  for who in plain full; do
    figure "$who: 1,000 connections, 4,000 requests/s over all of them" "$(cat "$folder/used.$who")" most 25
  done
  for who in plain full TLS; do
    figure "$who: 10,000 idle connections that were used once" "$(cat "$folder/idle.$who")" most 100
  done
}
case ${ONLY:-} in
  tls) beside; exit $missed ;;
  memory) memory; remembered; exit $missed ;;
esac

echo "CPU per request (µs) at the peak, $ROUNDS rounds of $SECONDS_EACH s, $CONNECTIONS connections"
for round in $(seq "$ROUNDS"); do
  order=$(in_order "$round")
  for who in $order; do
    before=$(cpu "${process[$who]}")
    taskset -c 1 wrk -t1 -c"$CONNECTIONS" -d"${SECONDS_EACH}s" "http://${at[$who]}/item" >"$folder/wrk"
    after=$(cpu "${process[$who]}")
    requests=$(awk '/requests in/ { print $1 }' "$folder/wrk")
    if grep -q -E "Non-2xx|Socket errors" "$folder/wrk"; then echo "$who failed:"; cat "$folder/wrk"; exit 1; fi
    awk -v cpu=$((after - before)) -v n="$requests" 'BEGIN { printf "%.3f\n", cpu / n / 1000 }' >>"$folder/cpu.$who"
    awk '/Requests\/sec/ { print $2 }' "$folder/wrk" >>"$folder/peak.$who"
  done
  echo "  round $round: $(told cpu)"
done

rate=$(median <"$folder/peak.nginx" | awk '{ print int($1 / 2) }')
echo "p99 (µs) in open loop at $rate requests/s, half of nginx's peak"
for round in $(seq "$ROUNDS"); do
  order=$(in_order "$round")
  for who in $order; do
    taskset -c 1 "$target/examples/load" --to "${at[$who]}" --rate "$rate" --seconds "$SECONDS_EACH" --seed "$round" >"$folder/load"
    grep -q '"failed":0,' "$folder/load" || { echo "$who failed:"; cat "$folder/load"; exit 1; }
    for what in p50 p99; do sed "s/.*\"$what\":\([0-9]*\).*/\1/" "$folder/load" >>"$folder/$what.$who"; done
  done
  echo "  round $round: $(told p99)"
done

echo "memory at 1,000 connections, and with 10,000 idle ones"
memory

echo >&3
sleep 1.5
echo "counted by the gateway: $(tail -1 "$folder/counts")"
echo
echo "== figures (medians of $ROUNDS rounds; ratios are medians of paired ratios)"
for who in $contestants; do
  echo "$who: $(median <"$folder/cpu.$who") µs of CPU per request, peak $(median <"$folder/peak.$who") requests/s, p50 $(median <"$folder/p50.$who") µs, p99 $(median <"$folder/p99.$who") µs"
done
echo "CPU per request, davy / haproxy: $(ratios cpu.davy cpu.haproxy | median)"
echo "p99 at half of nginx's peak, davy / haproxy: $(ratios p99.davy p99.haproxy | median)"
if [ -n "${PINGORA:-}" ]; then
  echo "davy / pingora: CPU per request $(ratios cpu.davy cpu.pingora | median), p99 $(ratios p99.davy p99.pingora | median)"
fi
figure "CPU per request, davy / nginx" "$(ratios cpu.davy cpu.nginx | median)" most 1.4
figure "CPU per request, every feature on / nginx" "$(ratios cpu.full cpu.nginx | median)" most 1.4
figure "p99 at half of nginx's peak, davy / nginx" "$(ratios p99.davy p99.nginx | median)" most 1.3
figure "p99 at half of nginx's peak, every feature on / nginx" "$(ratios p99.full p99.nginx | median)" most 1.3
remembered
beside
exit $missed
