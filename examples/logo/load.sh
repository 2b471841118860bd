#!/bin/sh
# Sends requests to the service through the gateway until Ctrl-C, and says each second which version answered.
# usage: ./load.sh [ADDRESS [REQUESTS_PER_SECOND]]
address=${1:-127.0.0.1:8080}
rate=${2:-300}
echo "about $rate requests a second to http://$address/version; Ctrl-C ends it"
while :; do
  # One connection, a second's worth of requests one after the other: each prints its body, then its status.
  {
    curl --silent --max-time 10 --write-out '%{http_code}\n' "http://$address/version?n=[1-$rate]"
  } | awk '
    /^v[0-9]$/  { version = $1; next }
    /^200$/     { answered[version]++; next }
    /^[0-9]+$/  { failed[$1 == "000" ? "no connection" : $1]++ }
    END {
      line = ""
      for (v in answered) line = line sprintf("  %s: %d", v, answered[v])
      for (s in failed)   line = line sprintf("  failed (%s): %d", s, failed[s])
      print line
    }'
  sleep 1
done
