#!/usr/bin/env bash
# Regenerates the contracts into a scratch directory and fails where the committed code differs.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mapfile -t own < <(cd proto && find mltrainer -name '*.proto' | sort)
mapfile -t foreign < <(cd proto/third_party && find . -name '*.proto' -printf '%P\n' | sort)
.venv/bin/python -m grpc_tools.protoc -I proto -I proto/third_party \
  --python_out="$scratch" --grpc_python_out="$scratch" \
  --mypy_out=quiet:"$scratch" --mypy_grpc_out=quiet:"$scratch" "${own[@]}" "${foreign[@]}"
if ! diff -r -q -x py.typed -x __pycache__ "$scratch" libs/protos/src; then
  echo "Generated code differs from the contracts: execute 'make proto' and commit the result." >&2
  exit 1
fi
