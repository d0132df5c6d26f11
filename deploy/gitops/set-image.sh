#!/usr/bin/env bash
# set-image.sh OVERLAY IMAGE REPOSITORY@sha256:DIGEST: the overlay of deploy/k8s gets this image. A pull request shows the change.
set -euo pipefail
overlay=$1 image=$2 found=$3 file=$(dirname "$0")/../k8s/overlays/$1/kustomization.yaml
if ! [[ $found =~ ^[a-z0-9.:/_-]+@sha256:[0-9a-f]{64}$ ]]; then
    echo "$image · found $found; legal: REPOSITORY@sha256:DIGEST. Use what \`docker push\` prints." >&2
    exit 1
fi
if ! grep -q "{name: $image, newName: " "$file"; then
    echo "overlays/$overlay · it has no image $image. Use platform or predictions." >&2
    exit 1
fi
sed -E -i "s|\{name: $image, newName: .*\}|{name: $image, newName: ${found%@*}, digest: \"${found#*@}\"}|" "$file"
