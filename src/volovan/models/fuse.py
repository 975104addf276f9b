"""volovan.fuse: a network for inference, the same function in fewer passes over memory.

What surrounds a convolution is folded into its weights, or done while its result is still in registers:

    BatchNorm behind it           W' = s W,  b' = s b + t      s = gamma / sqrt(var + eps), t = beta - s mean
    BatchNorm before a 1 x 1      W' = W s,  b' = b + W t      (before a convolution with padding it is not exact)
    layer scale behind it         W' = l W,  b' = l b
    GELU, ReLU, gate, shortcut    in the pass of the convolution (volovan.ops.convolution), or of the linear layer

In exact arithmetic nothing changes; the tests hold that in float64.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from volovan.models import lvvit, van
from volovan.models.layers import MLP, ConvNormAct, SelfAttention, SteadyBatchNorm2d, TransformerBlock
from volovan.models.mixers import OutlookAttention
from volovan.models.pyramid import LevelConv
from volovan.models.watched import watched
from volovan.ops.convolution import Kernel, conv2d_then
from volovan.ops.linear import linear_then
from volovan.ops.onednn import Laid

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def fuse(model: NetworkT) -> NetworkT:
    """A copy of a network for inference: the same answers, faster. The network itself stays as it is.

    model    of `create_model`, `create_segmenter` and their like, or made of such parts. What something watches (hooks,
             an adapter in the place of a part, a subclass of it) stays as it is, and so does what is not known here
    returns  the copy, in eval mode; its parameters learn no more, and its state dict fits no other network
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fuse takes a network, not a {type(model).__name__}; of a network in use take its fused()")
    network = copy.deepcopy(model).eval().requires_grad_(False)
    shared = {module for module, times in Counter(child for _, _, child in children(network)).items() if times > 1}
    for module in list(network.modules()):
        for names in chains(module):
            if not shared.intersection(getattr(module, name) for name in names):
                fold_chain(module, names)
        if type(module) is ConvNormAct:
            fold_relu(module)
        if type(module) is TransformerBlock:
            fold_divisor(module)
    for parent, name, child in children(network):
        if type(child) is van.Block and as_published(child) and child not in shared:
            setattr(parent, name, FusedVANBlock(child))
    for parent, name, child in children(network):
        if type(child) is TransformerBlock and can_take_shortcuts(child) and not shared.intersection(child.modules()):
            setattr(parent, name, FusedTransformerBlock(child))
    for parent, name, child in children(network):
        if type(child) is MLP and child not in shared and not any(watched(part) for part in child.modules()):
            setattr(parent, name, FusedMLP(child))
    for parent, name, child in children(network):
        if takes_more(child) and child.groups == 1 and child not in shared and not reads_weights(parent):
            setattr(parent, name, FusedConv2d(child))
        if type(child) is nn.Linear and not watched(child) and child not in shared:
            setattr(parent, name, FusedLinear(child))
    return network


def children(network: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """(parent, name, child) of all modules within, any of which may be replaced meanwhile."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None:
                yield parent, name, child


# What takes the place of parts


class KeepsLaid(nn.Module):
    """A layer whose weights stay as a backend has laid them out, and what it ends in."""

    act: str
    laid: Laid

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.laid = Laid()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"laid": Laid()}  # a layout is of this machine

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, act={self.act}"


class FusedConv2d(KeepsLaid, nn.Conv2d):
    """A convolution that ends in its activation, or in the product or sum with another map (B, D, h, w)."""

    def __init__(self, conv: nn.Conv2d, act: str = "none", combine: str = "add"):
        shape = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        super().__init__(*shape, conv.groups, bias=False, device="meta")  # type: ignore[arg-type]
        self.weight, self.bias = conv.weight, conv.bias
        self.act, self.combine, self.laid = act, combine, Laid()

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        moves: Any = (self.stride, self.padding, self.dilation, self.groups)
        return conv2d_then(x, Kernel(self.weight, self.bias, *moves), self.act, other, self.combine, self.laid)


class FusedLinear(KeepsLaid, nn.Linear):
    """A linear layer that ends in its activation, or in the sum with another tensor (..., D)."""

    def __init__(self, linear: nn.Linear, act: str = "none"):
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.act, self.laid = act, Laid()

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        return linear_then(x, self.weight, self.bias, self.act, other, self.laid)


class FusedMLP(nn.Module):
    """An MLP whose first layer ends in GELU, and the second in the sum with another tensor."""

    def __init__(self, mlp: MLP):
        super().__init__()
        self.fc1, self.fc2 = FusedLinear(mlp.fc1, "gelu"), FusedLinear(mlp.fc2)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        return self.fc2(self.fc1(x), other)


class FusedTransformerBlock(nn.Module):
    """A block whose shortcuts are added by the last layers of its branches; that of the mixer is taken out of it."""

    def __init__(self, block: TransformerBlock):
        super().__init__()
        self.norm1, self.attn, self.norm2 = block.norm1, block.attn, block.norm2
        self.proj, self.attn.proj = FusedLinear(block.attn.proj), nn.Identity()  # type: ignore[arg-type]
        self.mlp = FusedMLP(block.mlp)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(self.attn(self.norm1(x)), x)
        return self.mlp(self.norm2(x), x)


class FusedVANBlock(nn.Module):
    """A block of VAN without BatchNorm and layer scales.

    With s and t of norm1, and the layer scale l:

        x + l (s x + t + proj_2(LKA(GELU(proj_1(s x + t)))))  =  (1 + l s) x + proj_2'(LKA(GELU(proj_1'(x))))
    """

    scale: Tensor

    def __init__(self, block: van.Block):
        super().__init__()
        attention, mlp = block.attn, block.mlp
        gating = attention.spatial_gating_unit
        scale, shift = scale_and_shift(block.norm1)
        first, second = (
            torch.ones_like(scale) if own is None else own.double()
            for own in (block.layer_scale_1, block.layer_scale_2)
        )
        fold_before(attention.proj_1, scale, shift)
        fold_behind(attention.proj_2, first, first * shift)
        fold_before(mlp.fc1, *scale_and_shift(block.norm2))
        fold_behind(mlp.fc2, second)
        self.register_buffer("scale", (1 + first * scale).to(attention.proj_1.weight.dtype)[:, None, None])
        self.proj_1 = FusedConv2d(attention.proj_1, "gelu")
        self.conv0, self.conv_spatial = gating.conv0, gating.conv_spatial
        self.conv1 = FusedConv2d(gating.conv1, combine="mul")
        self.proj_2 = FusedConv2d(attention.proj_2)
        self.fc1 = FusedConv2d(mlp.fc1)
        self.dwconv = FusedConv2d(mlp.dwconv.dwconv, "gelu")
        self.fc2 = FusedConv2d(mlp.fc2)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.proj_1(x)
        attention = van.convolve(self.conv_spatial, van.convolve(self.conv0, gate))
        x = self.proj_2(self.conv1(attention, gate), x * self.scale)
        return self.fc2(self.dwconv(self.fc1(x)), x)


# What is found


def chains(module: nn.Module) -> Sequence[tuple[str, ...]]:
    """Names of children that a module calls one after another, with nothing between them."""
    if watched(module):
        return []
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return [tuple(module._modules)]
    if type(module) is lvvit.PatchEmbed and module.conv_stem:
        return [(f"conv{number}", f"bn{number}") for number in (1, 2, 3)]
    if type(module) is LevelConv:
        return [("conv", "batch_norm") if reads_weights(module) else ("conv", "batch_norm", "activation")]
    return {van.PatchEmbed: [("proj", "norm")], ConvNormAct: [("conv", "bn")]}.get(type(module), [])


def takes_more(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it may become a FusedConv2d."""
    plain = type(module) is nn.Conv2d and module.padding_mode == "zeros" and isinstance(module.padding, tuple)
    return plain and not watched(module)


def reads_weights(module: nn.Module) -> bool:
    """Whether it may compute with the weights of its convolution in a way of its own."""
    return type(module) is LevelConv and module.levels > 1


def is_norm(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is a BatchNorm by running statistics."""
    kind = type(module) in (nn.BatchNorm2d, SteadyBatchNorm2d)
    return kind and not watched(module) and isinstance(module.running_mean, Tensor)


def is_convolution(module: nn.Module) -> bool:
    """Whether a BatchNorm behind it can be folded into its weights."""
    kind = type(module) is nn.Conv2d or (type(module) is nn.ConvTranspose2d and module.groups == 1)
    return kind and not watched(module)


def activation(module: nn.Module) -> str | None:
    """The name that conv2d_then has for it."""
    if watched(module):
        return None
    if type(module) is nn.GELU:
        return "gelu" if module.approximate == "none" else None
    return "relu" if type(module) is nn.ReLU else None


def as_published(block: van.Block) -> bool:
    """Whether all parts of a block are those of the paper, and nothing watches any of them."""
    attention, mlp = block.attn, block.mlp
    return (
        not any(watched(part) for part in block.modules())
        and type(attention) is van.Attention
        and type(attention.spatial_gating_unit) is van.LargeKernelAttention
        and attention.spatial_gating_unit.as_published
        and type(mlp) is van.FeedForward
        and type(mlp.dwconv) is van.DWConv
        and all(takes_more(part) for part in block.modules() if not list(part.children()) and hasattr(part, "stride"))
        and is_norm(block.norm1)
        and is_norm(block.norm2)
    )


def can_take_shortcuts(block: TransformerBlock) -> bool:
    """Whether nothing stands between the last layers of its branches and the sums, and nothing watches any part."""
    mixer, mlp = block.attn, block.mlp
    layers = [getattr(mixer, "proj", None), mlp.fc1, mlp.fc2] if type(mlp) is MLP else [None]
    return (
        block.residual_divisor == 1
        and type(mixer) in (SelfAttention, OutlookAttention)
        and all(type(layer) is nn.Linear for layer in layers)
        and not any(watched(part) for part in block.modules())
    )


# What is folded


def fold_chain(module: nn.Module, names: Sequence[str]) -> None:
    """BatchNorm, then ReLU or GELU, into the convolution before it; `names` of children that run one after another."""
    for first, then in pairwise(names):
        conv, norm = getattr(module, first), getattr(module, then)
        if is_convolution(conv) and is_norm(norm):
            fold_behind(conv, *scale_and_shift(norm))
            setattr(module, then, nn.Identity())
    left = [name for name in names if type(getattr(module, name)) is not nn.Identity]
    for first, then in pairwise(left):
        conv, act = getattr(module, first), activation(getattr(module, then))
        if act and takes_more(conv):
            setattr(module, first, FusedConv2d(conv, act))
            setattr(module, then, nn.Identity())


def fold_relu(module: ConvNormAct) -> None:
    """The ReLU that is not a child."""
    if module.act and type(module.bn) is nn.Identity and takes_more(module.conv):
        module.conv, module.act = FusedConv2d(module.conv, "relu"), False


def fold_divisor(block: TransformerBlock) -> None:
    """The residual divisor of LV-ViT into the last layers of both branches."""
    divisor, mixer, mlp = block.residual_divisor, block.attn, block.mlp
    if divisor == 1 or type(mixer) is not SelfAttention or type(mlp) is not MLP:
        return
    last = (mixer.proj, mlp.fc2)
    if all(type(layer) is nn.Linear for layer in last) and not any(watched(part) for part in block.modules()):
        for layer in last:
            fold_behind(layer, torch.full((layer.out_features,), 1 / divisor, dtype=torch.float64))
        block.residual_divisor = 1.0


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """s and t of BatchNorm(x) = s x + t, of each channel, in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -scale * norm.running_mean.double()
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def fold_behind(layer: Any, scale: Tensor, shift: Tensor | None = None) -> None:
    """scale * layer(x) + shift, of each output."""
    outputs = 1 if type(layer) is nn.ConvTranspose2d else 0
    weight = layer.weight.double()
    bias = None if layer.bias is None else layer.bias.double() * scale
    if shift is not None:
        bias = shift if bias is None else bias + shift
    assign(layer, weight * scale.reshape([-1 if axis == outputs else 1 for axis in range(weight.dim())]), bias)


def fold_before(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """conv(scale * x + shift), of each input, for a 1 x 1 convolution."""
    weight = conv.weight.double()
    bias = weight.flatten(1) @ shift
    assign(conv, weight * scale[:, None, None], bias if conv.bias is None else bias + conv.bias.double())


def assign(layer: Any, weight: Tensor, bias: Tensor | None) -> None:
    dtype = layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias.to(dtype), requires_grad=False)
