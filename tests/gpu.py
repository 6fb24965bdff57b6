"""Speed on a GPU: `tests/gpu.sh` runs `gpu.py HANC MODELS`. Prints one table, hanc beside PyTorch."""

import json
import pathlib
import subprocess
import sys
import time

HANC, MODELS = sys.argv[1:3]
ROWS = []


def hanc(*args):
    """What a verb of hanc says, as JSON."""
    done = subprocess.run([HANC, *args, "--json"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"hanc {' '.join(args)}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def row(what, value, other=""):
    ROWS.append((what, value, other))


def timed(torch, f, seconds=1.0):
    """The least time of a call, in seconds."""
    for _ in range(5):
        f()
    best, end = float("inf"), time.time() + seconds
    while time.time() < end:
        torch.cuda.synchronize()
        start = time.perf_counter()
        f()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def stack(torch, layers, n):
    """Han layers as they are written in PyTorch."""
    def forward(x, us, bs):
        for u, b in zip(us, bs):
            v = u / u.norm()
            x = (x - 2 * (x @ v)[:, None] * v + b).abs()
        return x
    us = [torch.randn(n, device="cuda", requires_grad=True) for _ in range(layers)]
    bs = [torch.randn(n, device="cuda", requires_grad=True) for _ in range(layers)]
    return forward, us, bs


def han_stack(torch):
    """16 layers, n = 512, 1 GiB of activations, f32."""
    layers, n, rows = 16, 512, (1 << 30) // (4 * 512)
    a = torch.empty(rows * n, device="cuda")
    b = torch.empty_like(a)
    copy = timed(torch, lambda: b.copy_(a))
    bandwidth = 2 * a.numel() * 4 / copy
    row("copy of 1 GiB, GB/s", f"{bandwidth / 1e9:.0f}")
    del a, b
    forward, us, bs = stack(torch, layers, n)
    x = torch.randn(rows, n, device="cuda")
    spec = f"zoo:hannet,in=2,out=2,width={n},depth={layers + 2},style=regression"
    profile = hanc("bench", spec, "--batch", str(rows), "--device", "cuda", "--profile", "--runs", "5")["profile"]
    ours = next(k for k in profile["kernels"] if k["kernel"] == "han_stack.1")
    seconds, bytes_moved = ours["ms"] / 1e3, 2 * 4 * rows * n
    row("Han stack forward, ms", f"{seconds * 1e3:.2f}")
    row("Han stack forward, share of the copy's bandwidth", f"{bytes_moved / seconds / bandwidth:.2f}", "0.85 wanted")
    with torch.no_grad():
        eager = timed(torch, lambda: forward(x, us, bs))
        compiled = torch.compile(forward)
        fast = timed(torch, lambda: compiled(x, us, bs))
    row("Han stack forward, times as fast as PyTorch eager", f"{eager / seconds:.1f}", "10 wanted")
    row("Han stack forward, times as fast as torch.compile", f"{fast / seconds:.1f}", "3 wanted")


def models():
    for path in sorted(pathlib.Path(MODELS).glob("*.onnx")):
        for batch in (1, 256):
            found = hanc("bench", str(path), "--batch", str(batch), "--device", "cuda")
            row(f"{path.stem}, batch {batch}, ms", f"{found['results'][0]['median_ms']:.3f}")


def main():
    try:
        import torch
    except ImportError:
        raise SystemExit("there is no PyTorch")
    if torch.cuda.is_available():
        han_stack(torch)
    else:
        row("PyTorch sees no device", "")
    models()
    width = max(len(what) for what, *_ in ROWS)
    for what, value, other in ROWS:
        print(f"  {what:<{width}}  {value:>10}  {other}")


main()
