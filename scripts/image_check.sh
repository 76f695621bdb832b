#!/usr/bin/env bash
# Builds the Dockerfile as it is, without Docker: mmdebstrap makes a stand-in for
# its base image and buildah builds in a chroot. Then the image's own command must
# answer the image's own health check as the image's own user, and stop on SIGTERM.
set -euo pipefail -m
cd "$(dirname "$0")/.."

for tool in mmdebstrap buildah; do
  command -v $tool >/dev/null || { echo "image-check needs $tool: apt-get install mmdebstrap buildah" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "image-check must run as root" >&2; exit 1; }

work=$(mktemp -d)
export TMPDIR=$work CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
printf '[storage]\ndriver = "vfs"\nrunroot = "%s/run"\ngraphroot = "%s/graph"\n' "$work" "$work" >"$CONTAINERS_STORAGE_CONF"
service=
cleanup() {
  local status=$?
  [ "$status" = 0 ] || cat "$work/log" 2>/dev/null || true
  if [ -n "$service" ]; then
    kill -KILL -- "-$service" 2>/dev/null || true
    wait "$service" || true
  fi
  buildah rm --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

base=$(sed -n 's/^FROM \([^ ]*\).*/\1/p;T;q' Dockerfile)
echo "Making a stand-in for $base"
mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv \
  --customize-hook='ln -s python3 "$1/usr/bin/python"' "${base##*-}" "$work/base.tar"
container=$(buildah from scratch)
buildah add --quiet "$container" "$work/base.tar" / >/dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet --rm --format docker "$container" "docker.io/library/$base" >/dev/null
rm "$work/base.tar"

echo "Building the image"
ca=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
buildah bud --quiet --pull-never --network host --format docker \
  --volume "$ca:/etc/ssl/certs/ca-certificates.crt:ro" --tag modelyard . >"$work/log"

container=$(buildah from --pull-never modelyard)
inspect() { buildah inspect --format "$1" "$container"; }
mapfile -t command < <(inspect '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}{{range .OCIv1.Config.Cmd}}{{println .}}{{end}}' | sed '/^$/d')
mapfile -t health < <(inspect '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}' | sed '/^$/d;1d')
user=$(inspect '{{.OCIv1.Config.User}}')
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
run() { buildah run --user "$user" --env "PORT=$port" "$container" -- "$@"; }

echo "Starting '${command[*]}' as $user on port $port"
run "${command[@]}" >"$work/log" 2>&1 &
service=$!
for _ in $(seq 60); do
  kill -0 "$service" 2>/dev/null || exit 1
  ! run "${health[@]}" 2>/dev/null || break
  sleep 1
done
run "${health[@]}"
python3 -c "
import urllib.request
print(urllib.request.urlopen('http://127.0.0.1:$port/health/ready').read().decode())"

server=$service
until [[ $(readlink "/proc/$server/exe") == *python* ]]; do
  server=$(pgrep --oldest --parent "$server")
done
[ "$(stat --format %u "/proc/$server")" = "${user%%:*}" ]
kill -TERM "$server"
timeout 30 tail --pid="$server" --follow /dev/null
wait "$service" || true
service=
echo "The image works: $(du -sh "$(buildah mount "$container")/opt" | cut -f1) on top of $base"
