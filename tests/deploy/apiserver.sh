#!/usr/bin/env bash
# Build kube-apiserver, start it with an etcd, and have it judge every overlay:
#   kubectl apply --dry-run=server
# Nothing is run in it: there is no scheduler and no kubelet.
#   apiserver.sh FOLDER              what is built is kept below FOLDER, and built once (some minutes)
#   apiserver.sh FOLDER COMMAND..    in place of judging, run this beside the server; what it has of it is in
#                                    the folder $MSCP_LOG_APISERVER: url, token, kubeconfig, certificates, server.pid,
#                                    and what the overlays render to. A server that is killed comes back.
# Needs go (1.23 or newer), kubectl, etcd (Debian: etcd-server), openssl and python3.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=1.32.0
mkdir -p "$1"
folder=$(cd "$1" && pwd)
server=$folder/kube-apiserver-$version

for tool in go kubectl etcd openssl python3; do
  command -v $tool >/dev/null || { echo "$tool is missing (Debian: golang-go, kubectl of the Kubernetes project, etcd-server, openssl, python3)" >&2; exit 1; }
done

if [ ! -x "$server" ]; then
  echo "building kube-apiserver $version"
  build=$folder/build
  mkdir -p "$build"
  cp "$here/apiserver.go" "$build/main.go"
  cd "$build"
  rm -f go.mod go.sum
  go mod init apiserver 2>/dev/null
  go mod edit -require "k8s.io/kubernetes@v$version"
  # Its staging modules have versions of their own: v0.X.Y for v1.X.Y.
  kubernetes=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/^\t*"GoMod": "\(.*\)",*$/\1/p')
  for module in $(sed -n 's|^\t*\(k8s.io/[a-z0-9-]*\) => ./staging.*|\1|p' "$kubernetes"); do
    go mod edit -replace "$module=$module@v0.${version#1.}"
  done
  go mod tidy
  go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$version" -o "$server" .
fi

scratch=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$scratch"
}
trap finish EXIT

free_ports() {
  python3 -c 'import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))'
}
read -r client peer secure <<<"$(free_ports)"

etcd --data-dir "$scratch/etcd" --unsafe-no-fsync --log-level error \
  --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
  --initial-cluster "default=http://127.0.0.1:$peer" >"$scratch/etcd.log" 2>&1 &
pids+=($!)

openssl genrsa -out "$scratch/accounts.key" 2048 2>/dev/null
token=$(openssl rand -hex 16)
echo "$token,admin,admin,system:masters" >"$scratch/tokens.csv"
serve() {
  local pid=
  trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null; exit 0' TERM
  while :; do
    "$server" --etcd-servers="http://127.0.0.1:$client" --bind-address=127.0.0.1 --secure-port="$secure" \
      --cert-dir="$scratch/certificates" --service-account-issuer=https://kubernetes.default.svc \
      --service-account-key-file="$scratch/accounts.key" --service-account-signing-key-file="$scratch/accounts.key" \
      --token-auth-file="$scratch/tokens.csv" --authorization-mode=RBAC --service-cluster-ip-range=10.0.0.0/24 \
      --allow-privileged=true --endpoint-reconciler-type=none --disable-admission-plugins=ServiceAccount >>"$scratch/server.log" 2>&1 &
    pid=$!
    echo $pid >"$scratch/server.pid"
    wait $pid 2>/dev/null || true
    sleep 1
  done
}
serve &
pids+=($!)
echo "https://127.0.0.1:$secure" >"$scratch/url"
echo "$token" >"$scratch/token"
cat >"$scratch/kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$secure", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: $token}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
END

kube() {
  kubectl --kubeconfig "$scratch/kubeconfig" "$@"
}
for _ in $(seq 120); do
  kube get --raw /readyz >/dev/null 2>&1 && break
  sleep 0.5
done
kube get --raw /readyz >/dev/null || { tail -20 "$scratch/server.log" >&2; exit 1; }
echo "kube-apiserver $(kube version -o json | sed -n 's/.*"gitVersion": "\(.*\)".*/\1/p' | tail -1) answers"

# A dry run makes no namespace and no kind, so those that are wanted are made.
kube apply -f "$here/../../reference-deploy/base/namespace.yaml" >/dev/null
kube apply -f "$here/operator.yaml" >/dev/null
kube wait --for=condition=Established crd/servicemonitors.monitoring.coreos.com crd/prometheusrules.monitoring.coreos.com --timeout=60s >/dev/null

python=${PYTHON:-python3}
"$python" "$here/check.py" --render "$scratch/rendered"
shift
if [ $# -gt 0 ]; then
  MSCP_LOG_APISERVER=$scratch "$@"
  exit
fi
failed=0
for file in "$scratch"/rendered/*.yaml; do
  if kube apply --dry-run=server -f "$file" >"$scratch/answer" 2>&1 && ! grep -i '^warning' "$scratch/answer"; then
    echo "$(basename "$file" .yaml): $(grep -c 'server dry run' "$scratch/answer") objects accepted"
  else
    failed=1
    echo "$(basename "$file" .yaml): refused" >&2
    grep -v 'server dry run' "$scratch/answer" >&2
  fi
done

# It must be able to say no.
sed 's/matchLabels:/matchLabelz:/' "$scratch/rendered/single.yaml" >"$scratch/broken.yaml"
if kube apply --dry-run=server -f "$scratch/broken.yaml" >/dev/null 2>&1; then
  echo "the API server accepts a field that it does not know" >&2
  failed=1
fi
exit $failed
