"""Outlook attention: written-out loops check the reference, the reference checks the other backends."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from golden_operations import outlook_golden
from volovan.ops import backends, outlook_attention

CASES = [  # H, W, channels, heads, kernel, stride
    (4, 4, 4, 2, 3, 2),
    (5, 7, 6, 3, 3, 2),
    (1, 3, 4, 1, 3, 2),
    (4, 5, 4, 2, 3, 1),
    (5, 4, 4, 2, 5, 2),
    (7, 5, 6, 2, 3, 3),
    (4, 3, 4, 2, 1, 1),
    (3, 3, 2, 1, 7, 2),
    (2, 6, 4, 2, 3, 5),
]


def inputs(case, dtype=torch.float64, batch=2, seed=0):
    H, W, C, heads, k, s = case
    random = torch.Generator().manual_seed(seed)
    value = torch.randn(batch, H, W, C, generator=random, dtype=torch.float64)
    logits = 3 * torch.randn(batch, -(-H // s), -(-W // s), heads * k**4, generator=random, dtype=torch.float64)
    return value.to(dtype).requires_grad_(), logits.to(dtype).requires_grad_()


def written_out_loops(value, logits, heads, k, s):
    """The formula, place by place."""
    B, H, W, C = value.shape
    h, w = logits.shape[1:3]
    d, k2, pad = C // heads, k * k, (k - 1) // 2
    logits = logits.view(B, h, w, heads, k2, k2)
    pixels = {(r, c): torch.zeros(B, heads, d, dtype=value.dtype) for r, c in product(range(H), range(W))}
    for i, j, head, t in product(range(h), range(w), range(heads), range(k2)):
        at = [(i * s - pad + place // k, j * s - pad + place % k) for place in range(k2)]
        if at[t] not in pixels:
            continue
        exponent = (logits[:, i, j, head, t] / d**0.5).exp()
        total = torch.zeros(B, d, dtype=value.dtype)
        for u in range(k2):
            if at[u] in pixels:
                weight = exponent[:, u] / exponent.sum(1)
                total = total + weight[:, None] * value[:, at[u][0], at[u][1], head * d : (head + 1) * d]
        update = torch.zeros(B, heads, d, dtype=value.dtype)
        update[:, head] = total
        pixels[at[t]] = pixels[at[t]] + update
    rows = [torch.stack([pixels[r, c].flatten(1) for c in range(W)], dim=1) for r in range(H)]
    return torch.stack(rows, dim=1)


def unfold_fold(value, logits, heads, k, s):
    """The formulation of the paper, in plain torch operations of the given precision."""
    B, H, W, C = value.shape
    h, w = logits.shape[1:3]
    d, k2 = C // heads, k * k
    source = F.unfold(value.permute(0, 3, 1, 2), k, padding=k // 2, stride=s)
    source = source.view(B, heads, d, k2, h * w).permute(0, 1, 4, 3, 2)
    weights = (logits.reshape(B, h * w, heads, k2, k2).permute(0, 2, 1, 3, 4) * d**-0.5).softmax(-1)
    target = (weights @ source).permute(0, 1, 4, 3, 2).reshape(B, C * k2, h * w)
    return F.fold(target, (H, W), k, padding=k // 2, stride=s).permute(0, 2, 3, 1)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outlook_equals_written_out_loops(case, backend):
    value, logits = inputs(case)
    heads, k, s = case[3:]
    got = outlook_attention(value, logits, heads, k, s, k // 2, backend=backend)
    want = written_out_loops(value, logits, heads, k, s)
    assert got.shape == value.shape
    assert_close(got, want, atol=1e-12, rtol=1e-12)
    cotangent = torch.randn_like(value)
    for g, w in zip(
        torch.autograd.grad(got, (value, logits), cotangent),
        torch.autograd.grad(want, (value, logits), cotangent),
        strict=True,
    ):
        assert_close(g, w, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("needed", [(True, False), (False, True)], ids=["value", "logits"])
def test_outlook_gives_one_gradient_alone(needed):
    value, logits = inputs(CASES[1])
    args = [t.detach().requires_grad_(n) for t, n in zip((value, logits), needed, strict=True)]
    got = torch.autograd.grad(outlook_attention(*args, 3, 3, 2, backend="cpu").square().sum(), args[needed.index(True)])
    want = torch.autograd.grad(
        outlook_attention(*args, 3, 3, 2, backend="reference").square().sum(), args[needed.index(True)]
    )
    assert_close(got, want)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_outlook_golden(golden, backend):
    outlook_golden(golden("volo_tiny"), backend)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_outlook_low_precision_error_is_at_most_twice_that_of_unfold_and_fold(dtype, backend):
    value, logits = inputs((14, 14, 64, 2, 3, 2), dtype=dtype, batch=4)
    exact = [t.detach().double().requires_grad_() for t in (value, logits)]
    want = outlook_attention(*exact, 2, 3, 2, backend="reference")
    cotangent = torch.randn_like(value)
    wanted = [want, *torch.autograd.grad(want, exact, cotangent.double())]
    errors = {}
    for name, run in {
        "plain": lambda: unfold_fold(value, logits, 2, 3, 2),
        "ours": lambda: outlook_attention(value, logits, 2, 3, 2, backend=backend),
    }.items():
        out = run()
        assert out.dtype == dtype
        got = [out, *torch.autograd.grad(out, (value, logits), cotangent)]
        errors[name] = [(a.double() - b).norm().item() for a, b in zip(got, wanted, strict=True)]
    for ours, plain in zip(errors["ours"], errors["plain"], strict=True):
        assert ours <= 2 * plain


def test_outlook_cpu_has_second_derivatives():
    value, logits = inputs((3, 4, 2, 1, 3, 2), batch=1)
    run = lambda v, a: outlook_attention(v, a, 1, 3, 2, backend="cpu")  # noqa: E731
    assert torch.autograd.gradgradcheck(run, (value, logits))


def test_outlook_auto_never_raises():
    value, logits = inputs(CASES[1])
    run = lambda v, a: outlook_attention(v, a, 3, 3, 2)  # noqa: E731
    want = run(value, logits)
    _, tangent = torch.func.jvp(run, (value, logits), (torch.ones_like(value), torch.zeros_like(logits)))
    assert tangent.shape == value.shape
    per_sample = torch.func.vmap(lambda v, a: run(v[None], a[None])[0])(value, logits)
    assert_close(per_sample, want)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(value, torch.ones_like(value))
        run(dual, logits)
    run(value.detach().to("meta"), logits.detach().to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        run(value.float(), logits.float())
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert run(value.to(dtype), logits.float()).dtype == dtype
    assert run(value[:0], logits[:0]).shape == (0, *value.shape[1:])


def test_outlook_backends_say_why():
    value, logits = inputs(CASES[1])
    said = backends("outlook_attention", value, logits, 3, 3, 2, 1)
    assert (list(said), said["cpu"], said["reference"]) == (["triton", "cpu", "reference"], "ok", "ok")
    meta = backends(outlook_attention, value.to("meta"), logits.to("meta"), 3, stride=2)
    assert (meta["cpu"], meta["reference"]) == ("value is on meta, not on a CPU", "ok")
    assert "value is on meta, not on a GPU" in meta["triton"] or "triton is not" in meta["triton"]
    with pytest.raises(ValueError, match="backend 'cpu' cannot run this: value is on meta"):
        outlook_attention(value.to("meta"), logits.to("meta"), 3, stride=2, backend="cpu")
    with pytest.raises(ValueError, match="no backend 'trition'; there are auto, triton, cpu, reference"):
        outlook_attention(value, logits, 3, stride=2, backend="trition")
    with pytest.raises(ValueError, match="no operation 'unfold'"):
        backends("unfold", value)


def test_outlook_compiled_takes_the_reference_in_one_graph():
    value, logits = inputs(CASES[1])
    run = torch.compile(lambda v, a: outlook_attention(v, a, 3, 3, 2), fullgraph=True, backend="aot_eager")
    assert_close(run(value, logits), outlook_attention(value, logits, 3, 3, 2))


def test_outlook_dropout_keeps_the_mean():
    value, logits = inputs((8, 8, 8, 2, 3, 2), batch=64, dtype=torch.float32)
    torch.manual_seed(0)
    got = outlook_attention(value, logits, 2, 3, 2, dropout=0.5)
    want = outlook_attention(value, logits, 2, 3, 2)
    assert not torch.equal(got, want)
    assert (got - want).mean().abs() < 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding": 0}, r"padding is 0, expected \(kernel_size - 1\) / 2 = 1"),
        ({"kernel_size": 2}, "kernel_size is 2, expected an odd number"),
        ({"stride": 0}, "stride is 0, expected at least 1"),
        ({"num_heads": 4}, "value has 6 channels, expected a multiple of num_heads = 4"),
        ({"num_heads": 2}, r"logits has 243 channels, expected num_heads \* k\^4 = 2 \* 81 = 162"),
        ({"stride": 1}, r"logits has shape \(2, 3, 4, 243\), expected \(2, 5, 7, 243\)"),
        ({"value": torch.zeros(2, 5, 7)}, "value has 3 axes"),
        ({"value": torch.zeros(2, 5, 7, 6, dtype=torch.int)}, "value is torch.int32 and logits"),
        ({"value": torch.zeros(2, 5, 7, 6, device="meta")}, "value is on meta and logits on cpu"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_outlook_refuses_with_found_and_expected(change, message):
    value, logits = inputs(CASES[1])
    arguments = {"value": value, "logits": logits, "num_heads": 3, "kernel_size": 3, "stride": 2, "padding": 1}
    with pytest.raises(ValueError, match=message):
        outlook_attention(**(arguments | change))
