"""Both attentions against tensors of the original code, forward and backward, whatever runs them."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from volovan.ops import large_kernel_attention, outlook_attention

KERNELS_ON = "cuda" if torch.cuda.is_available() else "cpu"
"""where kernels in Triton run: without a GPU in its interpreter, which is slow, and cuts bfloat16 off"""
HALVES = [torch.bfloat16, torch.float16] if KERNELS_ON == "cuda" else [torch.float16]
SEEDS = range(200 if KERNELS_ON == "cuda" else 50)
"""of shapes that are drawn for a kernel"""
LKA_PARAMETERS = (
    "conv0.weight",
    "conv0.bias",
    "conv_spatial.weight",
    "conv_spatial.bias",
    "conv1.weight",
    "conv1.bias",
)


def errors(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    """Largest differences."""
    return [(own.double() - right).abs().max().item() for own, right in zip(found, exact, strict=True)]


def case(tensors: dict[str, Tensor], prefix: str, device: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): t.to(device) for key, t in tensors.items() if key.startswith(prefix)}


def outlook_golden(tensors: dict[str, Tensor], backend: str, device: str = "cpu") -> None:
    """The eight modules of volo_tiny: linear layers around the operation are torch's."""
    for n in range(8):
        g = case(tensors, f"oa.{n}.", device)
        H, W, _, heads, k, s, pad = g["cfg"].int().tolist()
        names = [name for name in g if name.endswith((".weight", ".bias")) and not name.startswith("grad")]
        p = {name: g[name].clone().requires_grad_() for name in names}
        x = g["x"].clone().requires_grad_()
        pooled = F.avg_pool2d(x.permute(0, 3, 1, 2), s, s, ceil_mode=True).permute(0, 2, 3, 1)
        logits = F.linear(pooled, p["attn.weight"], p["attn.bias"])
        value = F.linear(x, p["v.weight"], p.get("v.bias"))
        assert value.shape[1:3] == (H, W)
        mixed = outlook_attention(value, logits, heads, k, s, pad, backend=backend)
        out = F.linear(mixed, p["proj.weight"], p["proj.bias"])
        assert_close(out, g["out"], atol=1e-5, rtol=1e-4)
        (out * g["cotangent"]).sum().backward()
        assert_close(x.grad, g["grad_x"], atol=1e-5, rtol=1e-4)
        for name in names:  # sums over all positions, whose rounding is that of the largest
            right = g[f"grad.{name}"]
            assert_close(p[name].grad, right, atol=1e-5 * max(1.0, right.abs().max().item()), rtol=1e-4)
        if "softmax" in g:
            weights = logits.view(*logits.shape[:3], heads, k * k, k * k) * (value.shape[-1] // heads) ** -0.5
            weights = weights.softmax(-1).permute(0, 3, 1, 2, 4, 5).flatten(2, 3)
            assert_close(weights, g["softmax"], atol=1e-6, rtol=1e-5)


def lka_golden(tensors: dict[str, Tensor], backend: str, device: str = "cpu") -> None:
    """The five modules of van_tiny."""
    for n in range(5):
        g = case(tensors, f"lka.{n}.", device)
        inputs = [g["x"].requires_grad_(), *(g[name].requires_grad_() for name in LKA_PARAMETERS)]
        out = large_kernel_attention(*inputs, backend=backend)
        assert_close(out, g["out"], atol=1e-5, rtol=1e-5)
        grads = torch.autograd.grad(out, inputs, g["grad_out"])
        assert_close(grads[0], g["grad_x"], atol=3e-5, rtol=1e-5)
        for name, grad in zip(LKA_PARAMETERS, grads[1:], strict=True):
            assert_close(grad, g[f"grad.{name}"], atol=3e-5 * g[f"grad.{name}"].abs().max().item() + 3e-5, rtol=1e-5)
