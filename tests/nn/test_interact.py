"""Interactions between fields against slow loops, and their invariants."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oakum.nn.interact import MLP, PART, CrossNet, FieldAttention, fm  # noqa: E402


def test_fm_is_the_sum_over_pairs() -> None:
    fields = torch.randn(7, 5, 4, dtype=torch.float64)
    slow = sum((fields[:, i] * fields[:, j]).sum(-1) for i in range(5) for j in range(i + 1, 5))
    torch.testing.assert_close(fm(fields), slow)


def slow_attention(layer: FieldAttention, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One example, one head, one pair of fields at a time, by the formulas."""
    b, f, _ = x.shape
    heads, paper = layer.num_heads, layer.paper_form
    bend = (lambda t: t) if paper else torch.relu
    size = layer.query.weight.shape[0] // heads
    out = torch.zeros(b, f, heads * size, dtype=x.dtype)
    maps = torch.zeros(b, heads, f, f, dtype=x.dtype)
    project = lambda part, v: bend(part.weight @ v + (0 if part.bias is None else part.bias))
    for r in range(b):
        for h in range(heads):
            cut = slice(h * size, (h + 1) * size)
            for i in range(f):
                q = project(layer.query, x[r, i])[cut]
                logits = torch.stack([q @ project(layer.key, x[r, j])[cut] for j in range(f)])
                if not paper:
                    logits = logits / size**0.5
                maps[r, h, i] = torch.exp(logits) / torch.exp(logits).sum()
                for j in range(f):
                    out[r, i, cut] += maps[r, h, i, j] * project(layer.value, x[r, j])[cut]
        for i in range(f):
            if layer.residual is not None:
                out[r, i] += project(layer.residual, x[r, i])
            out[r, i] = torch.relu(out[r, i])
            if not paper:
                y = out[r, i]
                y = (y - y.mean()) / torch.sqrt(y.var(unbiased=False) + 1e-8)
                out[r, i] = y * layer.norm.weight + layer.norm.bias
    return out, maps


@pytest.mark.parametrize("paper_form", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_agrees_with_a_loop(heads: int, residual: bool, paper_form: bool) -> None:
    torch.manual_seed(heads)
    layer = FieldAttention(6, 8, heads, residual=residual, paper_form=paper_form).double().eval()
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.7)
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    found, wanted = layer(x), slow_attention(layer, x)
    torch.testing.assert_close(found[0], wanted[0], atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(found[1], wanted[1])
    torch.testing.assert_close(found[1].sum(-1), torch.ones(3, heads, 5, dtype=torch.float64))


def test_turning_fields_turns_the_rows_of_the_layer() -> None:
    layer = FieldAttention(6, 8, 2).eval()
    x, order = torch.randn(4, 7, 6), torch.randperm(7)
    a, b = layer(x), layer(x[:, order])
    torch.testing.assert_close(b[0], a[0][:, order])
    torch.testing.assert_close(b[1], a[1][:, :, order][:, :, :, order])


def test_a_field_of_nothing_takes_the_path_of_the_biases() -> None:
    layer = FieldAttention(6, 8, 2).eval()
    for part in (layer.query, layer.key, layer.value, layer.residual):
        torch.nn.init.normal_(part.bias)
    x = torch.randn(4, 3, 6)
    x[:, 1] = 0
    _, attention = layer(x)
    q = torch.relu(layer.query.bias).reshape(2, 4)
    k = torch.relu(layer.key(x)).reshape(4, 3, 2, 4)
    wanted = (torch.einsum("hd,bfhd->bhf", q, k) / 2).softmax(-1)
    torch.testing.assert_close(attention[:, :, 1], wanted)


def test_gradients_of_attention() -> None:
    layer = FieldAttention(3, 4, 2).double().eval()
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: layer(v)[0], (x,), atol=1e-6)


@pytest.mark.parametrize("kind", ["matrix", "vector"])
def test_crosses(kind: str) -> None:
    net = CrossNet(5, 3, kind).double()
    for p in net.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(4, 5, dtype=torch.float64)
    wanted = x
    for i, layer in enumerate(net.layers):
        for_each = []
        for r in range(4):
            if kind == "matrix":
                for_each.append(x[r] * (layer.weight @ wanted[r] + layer.bias) + wanted[r])
            else:
                for_each.append(x[r] * (layer.weight[0] @ wanted[r]) + net.biases[i] + wanted[r])
        wanted = torch.stack(for_each)
    torch.testing.assert_close(net(x), wanted)
    for p in net.parameters():
        torch.nn.init.zeros_(p)
    torch.testing.assert_close(net(x), x)


def test_crosses_are_polynomials_of_the_layers_and_one() -> None:
    net = CrossNet(4, 3).double()
    for layer in net.layers:
        torch.nn.init.zeros_(layer.bias)
    x = torch.randn(2, 4, dtype=torch.float64)
    scales = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    values = torch.stack([net(s * x) for s in scales])
    powers = torch.stack([scales**p for p in range(1, 5)], 1)
    coefficients = torch.linalg.lstsq(powers, values.flatten(1)).solution
    torch.testing.assert_close(powers @ coefficients, values.flatten(1), atol=1e-6, rtol=1e-6)
    assert coefficients[3].abs().max() > 1e-4


def test_network() -> None:
    assert MLP(6, (4, 3), norm="batch", dropout=0.1)(torch.randn(5, 6)).shape == (5,)
    assert MLP(6, (4, 3), norm="layer", logit=False)(torch.randn(5, 6)).shape == (5, 3)
    assert MLP(6, ())(torch.randn(5, 6)).shape == (5,)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_rows_in_parts_are_rows_together(norm: str) -> None:
    torch.manual_seed(0)
    net = MLP(6, (4, 3), norm=norm).double()
    x = torch.randn(2 * PART + 5, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(len(x), dtype=torch.float64)
    through = [x, *net.parameters()]
    parts = torch.autograd.grad((net(x) * weights).sum(), through)
    together = torch.autograd.grad((net.net(x).squeeze(-1) * weights).sum(), through)
    torch.testing.assert_close(net(x), net.net(x).squeeze(-1))
    torch.testing.assert_close(parts, together)
