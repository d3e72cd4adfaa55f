#!/bin/sh
# What an accelerator gives: texts/s and p99 by batch size beside the runtime alone and beside the CPU, in one run.
# Installs nothing and needs no network: bench/README.md says what must be carried. Where no accelerator can be had it
# says so and exits 0 without a figure.
#   bench/gpu.sh [--json] [--smoke] [--seed N] [--device cuda:0]... [--model FOLDER]
set -eu
cd "$(dirname "$0")/.."
if ! command -v node >/dev/null 2>&1; then
  echo "bench/gpu.sh: there is no node on the PATH; it needs Node 20 or newer" >&2
  exit 1
fi
missing=""
for path in dist/bench/gpu-main.js node_modules/onnxruntime-node/package.json node_modules/onnxruntime-common/package.json \
  node_modules/@huggingface/tokenizers/package.json node_modules/@sinclair/typebox/package.json; do
  [ -e "$path" ] || missing="$missing $path"
done
if [ -n "$missing" ]; then
  echo "bench/gpu.sh: not here:$missing; bench/README.md says what must be carried" >&2
  exit 1
fi
exec node dist/bench/gpu-main.js "$@"
