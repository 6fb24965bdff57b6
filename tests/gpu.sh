#!/usr/bin/env bash
# Checks and measures the CUDA device on a machine that has one.
#
#   tests/gpu.sh pack OUT.tar    builds, and packs what a bare machine needs (x86-64): programs, models, golden recordings, this script
#   tests/gpu.sh [FOLDER]        runs what was packed there (here, unless given); needs the CUDA driver, and Python with PyTorch for its
#                                libraries and for comparison, but no Rust and no network
#
# It prints: what every kernel is off by its definition (the trials of the CPU on the GPU), golden trainings, memory and race checks
# where compute-sanitizer is installed, the stack of Han layers beside a copy of memory, whole models and training steps beside
# PyTorch. It ends with 1 where something is wrong.
set -euo pipefail

say() { printf '\n== %s\n' "$*"; }

# The test program that cargo says it has built.
built() { cargo test --release --no-run --message-format json "$@" 2>/dev/null |
    python3 -c 'import json, sys
print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable") and m.get("profile", {}).get("test")][0])'; }

pack() {
    local out=$1 folder
    cd "$(dirname "$0")/.."
    folder=$(mktemp -d)
    mkdir -p "$folder/bin" "$folder/models"
    cargo build --release -p hanc
    cp target/release/hanc "$folder/bin/hanc"
    cp "$(built -p hanc-runtime --lib)" "$folder/bin/kernels"
    cp "$(built -p hanc-tests --test golden)" "$folder/bin/golden"
    cp tests/gpu.sh tests/gpu.py "$folder/"
    [ ! -d ../shared/golden ] || cp -r ../shared/golden "$folder/golden"
    for model in stem-mixer,mlp=2,han=16 mobilevit-xxs hannet,width=200,depth=20; do
        target/release/hanc zoo "$model" -o "$folder/models/${model%%,*}.onnx"
    done
    tar -cf "$out" -C "$folder" .
    rm -rf "$folder"
    echo "packed $out"
}

# The folders of CUDA libraries that PyTorch brings.
libraries() {
    python3 - <<'EOF' 2>/dev/null || true
import glob, os, site
folders = [f for s in site.getsitepackages() + [site.getusersitepackages()] for f in glob.glob(os.path.join(s, "nvidia", "*", "lib"))]
print(":".join(folders))
EOF
}

check() {
    cd "$1"
    export LD_LIBRARY_PATH="$(libraries):${LD_LIBRARY_PATH:-}" HANC_GPU=1
    local status=0
    say "the device"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || { echo "there is no CUDA driver" >&2; exit 1; }
    say "every kernel against its definition"
    bin/kernels cpu:: --test-threads 1 || status=1
    say "golden trainings"
    HANC_SHARED=$PWD bin/golden on_cuda --test-threads 1 || status=1
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck; do
            say "compute-sanitizer $tool"
            compute-sanitizer --tool "$tool" --error-exitcode 1 bin/kernels cpu::han --test-threads 1 || status=1
        done
    fi
    say "speed"
    python3 gpu.py bin/hanc models || status=1
    exit $status
}

case "${1:-}" in
    pack) pack "$(realpath -m "${2:?a file to write}")" ;;
    *) check "${1:-$(dirname "$0")}" ;;
esac
