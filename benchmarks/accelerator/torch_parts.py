"""The parts that run PyTorch, on the GPU if there is one. Each returns its rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import torch_hrnet, torch_networks
from benchmarks.accelerator import Row, milliseconds

LANDMARKS, K, POINTS = 98, 9, 4
BACKBONES: dict[str, Callable[[], torch.nn.Module]] = {
    "mobilenet_v2": torch_networks.MobileNetV2,
    "hrnet_w18": lambda: torch_hrnet.HRNet(**torch_hrnet.W18),
    "hrnet_w32": lambda: torch_hrnet.HRNet(**torch_hrnet.W32),
}
# eager; compiled, as torch.compile does by default; reduced, its mode for small batches, with CUDA graphs
MODES = {"eager": None, "compiled": "default", "reduced": "reduce-overhead"}


def device() -> str:
    """ "cuda" where there is one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait(result: Any) -> None:
    """Waits for the GPU."""
    del result
    if device() == "cuda":
        torch.cuda.synchronize()


def search(batch: int = 64, cells: int = 64) -> list[Row]:
    """`torch.topk` of maps whose cells lie side by side, and of those that a network in channels-last leaves."""
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        first = torch.randn(batch, LANDMARKS, cells * cells, device=device()).to(dtype)
        last = first.transpose(1, 2).contiguous().transpose(1, 2)
        for name, maps in (("channels-first", first), ("channels-last", last)):
            ms = milliseconds(lambda maps=maps: torch.topk(maps, K), wait)
            rows.append({"name": f"torch.topk, {name}, {str(dtype).removeprefix('torch.')}", "ms": ms})
    return rows


def network(model: str, size: int, batch: int, how: str) -> list[Row]:
    """Inference, and forward and backward with an update by SGD; channels-last, autocast to bfloat16."""
    torch.backends.cudnn.benchmark = True
    where, cells = device(), (size // 4) ** 2
    module = torch_networks.Regressor(LANDMARKS, BACKBONES[model]()).to(where, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(module.parameters(), 0.01, 0.9)
    forward = module if MODES[how] is None else torch.compile(module, mode=MODES[how])
    images = torch.randn(batch, size, size, 3, device=where).permute(0, 3, 1, 2)
    index = torch.randint(0, cells, (batch, LANDMARKS, POINTS), device=where)

    def infer() -> Any:
        with torch.inference_mode(), torch.autocast(where, torch.bfloat16):
            return forward(images)

    def train() -> Any:
        with torch.autocast(where, torch.bfloat16):
            logits = forward(images).float().flatten(2)
        loss = (torch.logsumexp(logits, 2) - logits.gather(2, index).mean(2)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    rows = []
    for name, call in (("inference", infer), ("training", train)):
        module.train(call is train)
        start = time.perf_counter()
        wait(call())
        compiled = time.perf_counter() - start
        rows.append({"name": name, "ms": milliseconds(call, wait), "images": batch, "compile s": compiled})
    return rows
