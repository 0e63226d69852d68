# For scripts that show what the server does: start_server FLAGS... starts one on a port of its own until the script
# ends, and sets FMA_SERVER, which `fma` calls.
bin=build/release/bin

start_server() {
  server_log=$(mktemp)
  # Port 0 lets the system choose; the server's log says which it got.
  "$bin/fma-server" --listen 127.0.0.1:0 "$@" >"$server_log" 2>&1 &
  server=$!
  trap 'kill -TERM $server 2>/dev/null; wait $server 2>/dev/null || true; rm -f "$server_log"' EXIT
  local port
  while kill -0 $server 2>/dev/null; do
    port=$(sed -nE 's/.*listening on .*, port ([0-9]+)$/\1/p' "$server_log")
    if [[ -n $port ]]; then
      export FMA_SERVER=127.0.0.1:$port
      return
    fi
    sleep 0.1
  done
  echo "The server did not start:" >&2
  cat "$server_log" >&2
  exit 1
}
