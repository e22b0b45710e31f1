#!/usr/bin/env bash
# Run a command with a PostgreSQL server of its own:
#   postgres.sh COMMAND [ARGUMENT..]
# The command finds the server's URL in MSCP_LOG_TEST_POSTGRES, without a
# database. The server listens on the loopback, has no password, syncs nothing,
# and is gone with its data when the command ends.
set -euo pipefail
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
if [ -z "$bin" ]; then
  bin=$(dirname "$(command -v pg_ctl)") || { echo "PostgreSQL is missing; run: sudo apt-get install -y postgresql" >&2; exit 1; }
fi
folder=$(mktemp -d)
# The server refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
  as=(runuser -u postgres --)
  chown postgres "$folder"
fi
end() {
  (cd / && "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate -s stop) || true
  rm -rf "$folder"
}
trap end EXIT
(cd / && "${as[@]}" "$bin/initdb" -D "$folder/data" -A trust -U postgres --no-sync -E UTF8 --locale=C.UTF-8 >"$folder/initdb.log")
# Somebody else may take a port between the look and the start.
for _ in 1 2 3 4 5; do
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c fsync=off -c max_connections=200"
  (cd / && "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -w -s -l "$folder/server.log" -o "$options" start) && break
  port=
done
[ -n "$port" ] || { "${as[@]}" cat "$folder/server.log" >&2; exit 1; }
export MSCP_LOG_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port"
PATH=$PATH:$bin "$@"
