#!/usr/bin/env bash
# Make the secrets of an overlay below overlays/NAME/secrets, which is not in git. What is there
# already stays as it is; run it again after an update.
#   secrets.sh single|platform|external [E-MAIL OF THE FIRST ADMINISTRATOR]
#   secrets.sh compose          below compose/secrets
set -euo pipefail
cd "$(dirname "$0")"
what=${1:?for what: single, platform, external or compose}
umask 077
case $what in
single | platform | external) folder=overlays/$what/secrets ;;
compose) folder=compose/secrets ;;
*) echo "$what is none of single, platform, external, compose" >&2; exit 2 ;;
esac
mkdir -p "$folder"
cd "$folder"

keep() { # NAME: standard input becomes the file, unless it is there
  if [ -e "$1" ]; then echo "kept  $1"; cat >/dev/null; else cat >"$1"; echo "made  $1"; fi
}

openssl rand -hex 32 | keep master-key
if [ "$what" != compose ]; then
  printf %s "${2:-admin@example.org}" | keep admin-email
  openssl rand -base64 24 | tr -d '\n' | keep admin-password
fi

case $what in
platform | compose)
  openssl rand -hex 24 | tr -d '\n' | keep postgres-password
  printf 'postgres://mscp_log:%s@postgres:5432/mscp_log' "$(cat postgres-password)" | keep database-url
  if [ "$what" = compose ]; then
    # Compose mounts them as they are, for users of the containers; the folder stays 0700.
    keep agent-token </dev/null
    chmod 0444 ./*
    chmod 0644 agent-token
  fi
  ;;
external)
  missing=
  for file in database-url database-ca.crt kafka-password kafka-ca.crt elasticsearch-api-key elasticsearch-ca.crt; do
    [ -s $file ] || missing="$missing overlays/external/secrets/$file"
  done
  if [ -n "$missing" ]; then
    echo "yours to fill in:$missing" >&2
    echo "database-url is one line:" >&2
    echo "  postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full&sslrootcert=/etc/mscp-log/identity/database-ca.crt" >&2
    exit 1
  fi
  ;;
esac
