#!/usr/bin/env bash
# Draws a picture with curl:  generate.sh "a red apple" apple.png [SEED]
# The server's address is in DIFFUSION_URL (http://localhost:8080 by default), its key, if it wants one, in
# DIFFUSION_API_KEY.
set -euo pipefail

prompt=${1:?usage: generate.sh PROMPT FILE [SEED]}
file=${2:?usage: generate.sh PROMPT FILE [SEED]}
seed=${3:-null}
url=${DIFFUSION_URL:-http://localhost:8080}

case $file in
  *.png) accept=image/png ;;
  *.jpg | *.jpeg) accept=image/jpeg ;;
  *.webp) accept=image/webp ;;
  *) echo "error: $file must end in .png, .jpg or .webp" >&2; exit 2 ;;
esac

# A prompt may have quotes and line breaks in it: JSON's escapes for them.
escaped=$prompt
escaped=${escaped//\\/\\\\}
escaped=${escaped//\"/\\\"}
escaped=${escaped//$'\n'/\\n}
escaped=${escaped//$'\t'/\\t}

# From a file, as other users of the machine can see what a program is started with.
key() { [ -z "${DIFFUSION_API_KEY:-}" ] || printf 'header = "authorization: Bearer %s"\n' "$DIFFUSION_API_KEY"; }

# --fail-with-body keeps the server's words when something is wrong; --retry follows its Retry-After.
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
if curl --silent --show-error --fail-with-body --retry 5 --config <(key) \
  --header 'content-type: application/json' --header "accept: $accept" \
  --data "{\"prompt\": \"$escaped\", \"seed\": $seed}" --output "$answer" "$url/generate"; then
  mv "$answer" "$file"
  trap - EXIT
  chmod 644 "$file"
else
  cat "$answer" >&2
  exit 1
fi
