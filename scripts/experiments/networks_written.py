"""Small networks written by hand, as users write them: each does one thing that tools stumble over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Written(nn.Module):
    """A network whose forward is a function of itself and its inputs; ``m[0]``, ``m[1]``, ... are its layers."""

    def __init__(self, run: Callable[..., Any], *layers: nn.Module, **parameters: Tensor) -> None:
        super().__init__()
        self.run, self.layers = run, nn.ModuleList(layers)
        for name, value in parameters.items():
            setattr(self, name, nn.Parameter(value))

    def __getitem__(self, index: int) -> Any:
        return self.layers[index]

    def forward(self, *inputs: Tensor) -> Any:
        """Run the function."""
        return self.run(self, *inputs)


class StandardisedConv3d(nn.Conv3d):
    """A convolution whose weights are standardised at each run (Qiao 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        w = self.weight
        w = (w - w.mean((1, 2, 3, 4), keepdim=True)) / (w.std((1, 2, 3, 4), keepdim=True) + 1e-5)
        return F.conv3d(x, w, self.bias, self.stride, self.padding)


class Branches(nn.Module):
    """Checks of its input and branches on its type in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = conv(), nn.Linear(256, 2)

    def forward(self, x: Tensor) -> Any:
        """Run."""
        assert x.ndim == 5, x.shape
        if not isinstance(x, Tensor) or x.shape[1] != 1:
            raise TypeError(type(x))
        channels, *grid = self.conv(x).shape[1:]
        h = nn.ReLU()(self.conv(x)).contiguous()
        return self.linear(h.reshape(len(x), channels * grid[0] * grid[1] * grid[2]))


def conv(channels: int = 1, filters: int = 4) -> nn.Conv3d:
    """Return a convolution."""
    return nn.Conv3d(channels, filters, 3)


def one(m: Any, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Convolution, activation, linear layer: what many of these networks are."""
    return nn.Sequential(m[0], act(), nn.Flatten(), m[1])


def _norm(m: Any) -> nn.Module:
    return nn.Sequential(m[0], m[1], nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), m[2])


def _shapes(m: Any, x: Tensor) -> Any:
    h = m[0](x).relu()
    return m[1](h.view(*h.shape[:2], -1).mean(2))


def _data_too(m: Any, x: Tensor) -> Any:
    h = m[0](x)
    return m[1]((h.data * 2 + h).flatten(1))


def _bilinear(m: Any, x: Tensor) -> Any:
    h = m[0](x).relu().mean((2, 3, 4))
    return m[1](h, h)


def _both_probabilities(m: Any, x: Tensor) -> Any:
    p = one(m)(x).sigmoid()
    return torch.cat([1 - p, p], 1)


def _both_logits(m: Any, x: Tensor) -> Any:
    z = one(m)(x)
    return torch.cat([-z, z], 1)


def _functional(m: Any, x: Tensor) -> Any:
    h = F.conv3d(x, m[0].weight, m[0].bias)
    h = F.batch_norm(h, m[1].running_mean, m[1].running_var, m[1].weight, m[1].bias)
    return F.linear(F.relu(h).mean((2, 3, 4)), m[2].weight, m[2].bias)


def _slices(m: Any, x: Tensor) -> Any:
    return m[1](torch.cat([m[0](x[:, :, i : i + 4]).relu().flatten(1) for i in (0, 2)], 1))


def _pieces(m: Any, x: Tensor) -> Any:
    found = [part.relu() for index, part in enumerate(m[0](x).chunk(2, 1)) if index < 2]
    return m[1](torch.stack(found, 1).flatten(1))


def _in_place(m: Any, x: Tensor) -> Any:
    h = m[0](x)
    before = h
    h = h.relu_()
    h = h + before
    part = h[:, :2]
    part.mul_(2)
    return m[1](h.flatten(1))


def _plain_in_place(m: Any) -> nn.Module:
    def run(n: Any, x: Tensor) -> Any:
        h = n[0](x).relu() * torch.tensor([4.0, 4, 2, 2], dtype=x.dtype).view(1, 4, 1, 1, 1)
        return n[1](h.flatten(1))

    return Written(run, *m.layers)


def _standardised(m: Any, x: Tensor) -> Any:
    h = m[0](x)
    return m[1](((h - h.mean((2, 3, 4), keepdim=True)) / (h.std((2, 3, 4), keepdim=True) + 1e-5)).relu().flatten(1))


def _standardised_input(m: Any, x: Tensor) -> Any:
    axes = (1, 2, 3, 4)
    return m[1](m[0]((x - x.mean(axes, keepdim=True)) / x.std(axes, keepdim=True)).relu().flatten(1))


def _tokens(m: Any, x: Tensor) -> Any:
    return m[0](x).flatten(2).transpose(1, 2)


def _pooled_by_attention(m: Any, x: Tensor) -> Any:
    h = _tokens(m, x)
    return m[2]((torch.softmax(m[1](h.tanh()), 1) * h).sum(1))


def _gated_mil(m: Any, x: Tensor) -> Any:
    h = _tokens(m, x)
    weights = torch.softmax(m[3](m[1](h).tanh() * m[2](h).sigmoid()), 1)
    return m[4](torch.bmm(weights.transpose(1, 2), h).squeeze(1))


def _squeeze_excitation(m: Any, x: Tensor) -> Any:
    h = m[0](x)
    return m[2]((h * m[1](h.mean((2, 3, 4))).sigmoid()[:, :, None, None, None]).flatten(1))


def _swiglu(m: Any, x: Tensor) -> Any:
    h = m[0](x).flatten(1)
    return m[3](F.silu(m[1](h)) * m[2](h))


def _attention(**options: Any) -> Callable[..., Any]:
    def run(m: Any, x: Tensor) -> Any:
        h = _tokens(m, x)
        return m[2](m[1](h, h, h, **options)[0].mean(1))

    return run


def _sdpa(m: Any, x: Tensor) -> Any:
    q, k, v = m[1](_tokens(m, x)).chunk(3, -1)
    return m[2](F.scaled_dot_product_attention(q, k, v).mean(1))


def _by_hand(m: Any, x: Tensor) -> Any:
    q, k, v = m[1](_tokens(m, x)).chunk(3, -1)
    weights = torch.softmax(torch.einsum("bic,bjc->bij", q, k) / 2, -1)
    return m[2](torch.einsum("bij,bjc->bic", weights, v).mean(1))


def _places_first(m: Any, x: Tensor) -> Any:
    return m[2](m[1](m[0](x).flatten(2).permute(2, 0, 1)).mean(0))


def _class_token(m: Any, x: Tensor) -> Any:
    h = _tokens(m, x)
    return m[2](m[1](torch.cat([m.token.expand(len(x), -1, -1), h], 1) + m.place)[:, 0])


def _transformer(run: Callable[..., Any], **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        layer = nn.TransformerEncoderLayer(4, 2, 8, **options)
        encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        extra = {"token": torch.randn(1, 1, 4), "place": torch.randn(1, 65, 4)} if run is _class_token else {}
        return Written(run, conv(), encoder, nn.Linear(4, 2), **extra)

    return build


def _exported() -> Any:
    network = nn.Sequential(conv(), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(32, 2))
    return torch.export.export(network.double().eval(), (torch.randn(1, 1, 6, 6, 6).double(),)).module()


def _checkpointed(reentrant: bool) -> Callable[..., Any]:
    def run(m: Any, x: Tensor) -> Any:
        return m[1](checkpoint(lambda y: m[0](y).relu(), x, use_reentrant=reentrant).flatten(1))

    return run


def _rearranged(m: Any, x: Tensor) -> Any:
    from einops import rearrange, reduce, repeat

    h = rearrange(m[0](x).relu(), "b c (x i) y z -> b (x y z) (c i)", i=2)
    return m[1](reduce(repeat(h, "b n c -> b n (c 2)"), "b n c -> b c", "mean"))


def _scan_and_age(m: Any, x: Tensor, age: Tensor) -> Any:
    return m[2](torch.cat([m[0](x).relu().flatten(1), m[1](age).relu()], 1))


def _two_scans(m: Any, x: Tensor, y: Tensor) -> Any:
    return m[2](m[0](x).relu().flatten(1) + m[1](y).relu().flatten(1))


def _time_points(m: Any, x: Tensor, y: Tensor) -> Any:
    return m[1]((m[0](y).relu() - m[0](x).relu()).flatten(1))


def _hemispheres(m: Any, x: Tensor) -> Any:
    left, right = x[:, :, :3], x[:, :, 3:].flip(2)
    return m[1](torch.cat([m[0](left).relu().flatten(1), m[0](right).relu().flatten(1)], 1))


def _siamese(m: Any, x: Tensor) -> Any:
    pairs = torch.cat([x, x.flip(2)])
    first, second = m[0](pairs).relu().flatten(1).chunk(2)
    return m[1](first + second)


def _overwritten(m: Any, x: Tensor) -> Any:
    h = m[0](x).relu()
    h[:, 0] = 0
    h[:, 1].mul_(2)
    return m[1](h.flatten(1))


def _plain_overwritten(m: Any) -> nn.Module:
    def run(n: Any, x: Tensor) -> Any:
        h = n[0](x).relu() * torch.tensor([0.0, 2, 1, 1], dtype=x.dtype).view(1, 4, 1, 1, 1)
        return n[1](h.flatten(1))

    return Written(run, *m.layers)


def _zeroed(h: Tensor) -> Tensor:
    h = h.clone()
    h[h < 0] = 0
    return h


def _written_out(m: Any, x: Tensor) -> Any:
    return m[1](torch.mul(m[0](x).relu().flatten(1), 1.0, out=torch.zeros(len(x), 256, dtype=x.dtype)))


def _scattered(m: Any, x: Tensor) -> Any:
    h, places = m[0](x).relu().flatten(2), torch.tensor([0, 1, 1, 0]).view(1, 4, 1).expand(len(x), 4, 64)
    return m[1](torch.zeros(len(x), 2, 64, dtype=x.dtype).scatter_add(1, places, h).flatten(1))


def _cbam(m: Any, x: Tensor) -> Any:
    h = m[0](x).relu()
    gate = (m[1](h.mean((2, 3, 4))) + m[1](h.amax((2, 3, 4)))).sigmoid()
    h = h * gate[:, :, None, None, None]
    return m[3]((h * m[2](torch.cat([h.mean(1, True), h.max(1, True)[0]], 1)).sigmoid()).flatten(1))


def _highway(m: Any, x: Tensor) -> Any:
    h = m[0](x)
    gate = m[2](h).sigmoid()
    return m[3]((gate * m[1](h).relu() + (1 - gate) * h).flatten(1))


def _film(m: Any, x: Tensor, age: Tensor) -> Any:
    scale, shift = m[1](age)[..., None, None, None].chunk(2, 1)
    return m[2]((m[0](x) * (1 + scale) + shift).relu().flatten(1))


def _gem(m: Any, x: Tensor) -> Any:
    return m[1](m[0](x).clamp(min=1e-3).pow(m.p).mean((2, 3, 4)).pow(1 / m.p))


def _weights_by_hand(soft: bool) -> Callable[..., Any]:
    def run(m: Any, x: Tensor) -> Any:
        q, k, v = m[1](_tokens(m, x)).chunk(3, -1)
        scores = q @ k.transpose(1, 2)
        weights = scores.softmax(-1) if soft else scores.exp() / scores.exp().sum(-1, keepdim=True)
        return m[2]((weights @ v).mean(1))

    return run


def _masked(m: Any, x: Tensor) -> Any:
    h, mask = _tokens(m, x), torch.arange(64)[None] > 50
    return m[2](m[1](h, h, h, key_padding_mask=mask)[0].mean(1))


def _plain_masked(m: Any) -> nn.Module:
    def run(n: Any, x: Tensor) -> Any:
        h = _tokens(n, x)
        qkv = F.linear(h, n[1].in_proj_weight, n[1].in_proj_bias).view(1, 64, 3, 2, 2).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] @ qkv[1].transpose(-2, -1) / 2**0.5)[..., :51]
        mixed = (scores.softmax(-1) @ qkv[2][:, :, :51]).transpose(1, 2).flatten(2)
        return n[2](n[1].out_proj(mixed).mean(1))

    return Written(run, *m.layers)


def _next(m: Any, x: Tensor) -> Any:
    h = m[0](x)
    return m[5]((h + m[4](m[3](m[2](m[1](h).movedim(1, -1)))).movedim(-1, 1)).flatten(1))


def _over_slices(m: Any, x: Tensor) -> Any:
    return m[2](m[1](m[0](x).relu().mean((3, 4)).transpose(1, 2))[0][:, -1])


def _over_visits(m: Any, x: Tensor, y: Tensor) -> Any:
    return m[2](m[1](torch.stack([m[0](visit).relu().flatten(1) for visit in (x, y)]))[1][0][-1])


class Stepwise(nn.Module):
    """The steps of an LSTM or GRU, over (places, batch, features); all that it starts with is 0 times the input."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.cell = self.lstm if isinstance(layer, nn.LSTM) else self.gru

    def lstm(self, x: Tensor, h: Tensor, kept: Tensor, w: Tensor, u: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step."""
        n, z = h.shape[1], F.linear(torch.cat([x, h], 1), torch.cat([w, u], 1), b[0] + b[1])
        kept = kept * z[:, n : 2 * n].sigmoid() + z[:, 2 * n : 3 * n].tanh() * z[:, :n].sigmoid()
        return kept.tanh() * z[:, 3 * n :].sigmoid(), kept

    def gru(self, x: Tensor, h: Tensor, kept: Tensor, w: Tensor, u: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step."""
        n = h.shape[1]
        gates = F.linear(torch.cat([x, h], 1), torch.cat([w, u], 1)[: 2 * n], (b[0] + b[1])[: 2 * n]).sigmoid()
        new = F.linear(x, w[2 * n :], b[0][2 * n :]) + gates[:, :n] * F.linear(h, u[2 * n :], b[1][2 * n :])
        return (1 - gates[:, n:]) * new.tanh() + gates[:, n:] * h, kept

    def forward(self, x: Tensor) -> Any:
        """Run all layers; return the last one's outputs."""
        places = list(x)
        for number in range(self.layer.num_layers):
            ways = []
            for way in ("", "_reverse")[: 2 if self.layer.bidirectional else 1]:
                w, u, *b = (getattr(self.layer, f"{name}_l{number}{way}")
                            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))  # fmt: skip
                h = kept = places[0][:, :1].expand(-1, self.layer.hidden_size) * 0
                found = []
                for place in reversed(places) if way else places:
                    h, kept = self.cell(place, h, kept, w, u, torch.stack(b))
                    found.append(h)
                ways.append(found[::-1] if way else found)
            places = [torch.cat(both, 1) for both in zip(*ways, strict=True)]
        return torch.stack(places)


def _stepwise(m: Any) -> nn.Module:
    steps = Stepwise(m[1])

    def run(n: Any, *inputs: Tensor) -> Any:
        if len(inputs) > 1:
            return n[2](n[1](torch.stack([n[0](visit).relu().flatten(1) for visit in inputs]))[-1])
        return n[2](n[1](n[0](inputs[0]).relu().mean((3, 4)).permute(2, 0, 1))[-1])

    return Written(run, m[0], steps, m[2])


class Counting(nn.Module):
    """Counts its runs, and averages over them, in buffers."""

    runs: Tensor
    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = conv(), nn.Linear(256, 2)
        self.register_buffer("runs", torch.zeros(()))
        self.register_buffer("average", torch.zeros(4))

    def forward(self, x: Tensor) -> Any:
        """Run."""
        h = self.conv(x).relu()
        self.runs += 1
        self.average = 0.9 * self.average + 0.1 * h.mean((0, 2, 3, 4))
        return self.linear(h.flatten(1))


def _two(run: Callable[..., Any], outputs: int = 2) -> Callable[[], nn.Module]:
    return lambda: Written(run, conv(), nn.Linear(256, outputs))


def _ended(end: Callable[[Tensor], Tensor], outputs: int = 2) -> tuple[Any, ...]:
    return _two(lambda m, x: end(m[1](m[0](x).relu().flatten(1))), outputs), SCAN, one


def _without_hooks(m: Any) -> nn.Module:
    m[0](torch.zeros(1, 1, 6, 6, 6, dtype=m[0].bias.dtype))  # its hook makes the weight
    plain = conv().to(m[0].bias)
    plain.weight.data, plain.bias = m[0].weight.detach(), m[0].bias
    return one([plain, m[1]])


def _layers(*makers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*(make() for make in makers))


def _last() -> nn.Module:
    return nn.Linear(256, 2)


SCAN = ((1, 6, 6, 6),)
# name: what `networks.Network` takes
NETWORKS: dict[str, tuple[Any, ...]] = {
    "x.view(x.size(0), -1)": (_two(lambda m, x: m[1](F.relu(m[0](x)).view(x.size(0), -1))), SCAN, one),
    "isinstance, assert, len": (Branches, SCAN, lambda m: one([m.conv, m.linear])),
    "*h.shape": (
        lambda: Written(_shapes, conv(), nn.Linear(4, 2)), SCAN,
        lambda m: nn.Sequential(m[0], nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), m[1])),
    "functional layers": (lambda: Written(_functional, conv(), nn.BatchNorm3d(4), nn.Linear(4, 2)), SCAN, _norm),
    "x @ W": (lambda: Written(lambda m, x: m[0](x).relu().flatten(1) @ m.w, conv(), w=torch.randn(256, 2)), SCAN),
    "slices in a loop": (lambda: Written(_slices, conv(), nn.Linear(256, 2)), SCAN),
    "tuples in a loop": (_two(_pieces), SCAN, one),
    "tensors made in forward": (
        _two(lambda m, x: m[1]((m[0](x).relu() + torch.ones(1, 4, 1, 1, 1, dtype=x.dtype) * 0.5).flatten(1))), SCAN),
    "h.data": (_two(lambda m, x: m[1](m[0](x).relu().data.flatten(1))), SCAN, one),
    "h.data beside h": (_two(_data_too), SCAN),
    "in-place before a residual": (_two(_in_place), SCAN, _plain_in_place),
    "normalisation in forward": (_two(_standardised), SCAN),
    "normalised scan": (_two(_standardised_input), SCAN),
    "keyword call": (_two(lambda m, x: m[1](input=m[0](input=x).relu().flatten(start_dim=1))), SCAN, one),
    "squeeze with one scan": (
        lambda: Written(lambda m, x: m[1](m[0](x).mean((2, 3, 4)).squeeze())[None], conv(), nn.Linear(4, 2)), SCAN,
        lambda m: nn.Sequential(m[0], nn.AdaptiveAvgPool3d(1), nn.Flatten(), m[1])),
    "a branch on a value": (
        _two(lambda m, x: m[1]((m[0](x) * (1.0 if x.mean().item() > 100 else 2.0)).relu().flatten(1))), SCAN),
    "einops": (lambda: Written(_rearranged, conv(), nn.Linear(16, 2)), SCAN, None, "einops"),
    "amax": (lambda: Written(lambda m, x: m[1](m[0](x).amax((2, 3, 4))), conv(), nn.Linear(4, 2)), SCAN,
             lambda m: nn.Sequential(m[0], nn.AdaptiveMaxPool3d(1), nn.Flatten(), m[1])),
    "max(dim)": (lambda: Written(lambda m, x: m[1](m[0](x).flatten(2).max(2)[0]), conv(), nn.Linear(4, 2)), SCAN,
                 lambda m: nn.Sequential(m[0], nn.AdaptiveMaxPool3d(1), nn.Flatten(), m[1])),
    "maximum": (lambda: Written(lambda m, x: m[2](torch.maximum(m[0](x), m[1](x)).flatten(1)), conv(), conv(),
                                nn.Linear(256, 2)), SCAN),
    "logsumexp pooling": (
        lambda: Written(lambda m, x: m[1](m[0](x).flatten(2).logsumexp(2)), conv(), nn.Linear(4, 2)), SCAN),
    "attention pooling": (lambda: Written(_pooled_by_attention, conv(), nn.Linear(4, 1), nn.Linear(4, 2)), SCAN),
    "gated MIL": (lambda: Written(_gated_mil, conv(), nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 1),
                                  nn.Linear(4, 2)), SCAN),
    "squeeze and excitation": (
        lambda: Written(_squeeze_excitation, conv(), nn.Linear(4, 4), nn.Linear(256, 2)), SCAN),
    "SwiGLU": (
        lambda: Written(_swiglu, conv(), nn.Linear(256, 5), nn.Linear(256, 5), nn.Linear(5, 2)), SCAN),
    "GLU": (lambda: Written(lambda m, x: m[1](F.glu(m[0](x), dim=1).flatten(1)), conv(), nn.Linear(128, 2)), SCAN),
    "MultiheadAttention": (lambda: Written(_attention(), conv(), nn.MultiheadAttention(4, 2, batch_first=True),
                                           nn.Linear(4, 2)), SCAN),
    "MultiheadAttention, no weights": (
        lambda: Written(_attention(need_weights=False), conv(), nn.MultiheadAttention(4, 2, batch_first=True),
                        nn.Linear(4, 2)), SCAN),
    "scaled_dot_product_attention": (lambda: Written(_sdpa, conv(), nn.Linear(4, 12), nn.Linear(4, 2)), SCAN),
    "attention by einsum": (lambda: Written(_by_hand, conv(), nn.Linear(4, 12), nn.Linear(4, 2)), SCAN),
    "TransformerEncoder": (_transformer(_places_first), SCAN),
    "TransformerEncoder, batch first": (
        _transformer(lambda m, x: m[2](m[1](_tokens(m, x)).mean(1)), batch_first=True), SCAN),
    "TransformerEncoder, norm first, GELU, class token": (
        _transformer(_class_token, batch_first=True, norm_first=True, activation="gelu"), SCAN),
    "spectral norm": (
        lambda: Written(lambda m, x: m[1](m[0](x).relu().flatten(1)), nn.utils.parametrizations.spectral_norm(conv()),
                        nn.Linear(256, 2)), SCAN, one),
    "weight norm": (
        lambda: Written(lambda m, x: m[1](m[0](x).relu().flatten(1)), nn.utils.parametrizations.weight_norm(conv()),
                        nn.Linear(256, 2)), SCAN, one),
    "weight norm by hooks": (
        lambda: Written(lambda m, x: m[1](m[0](x).relu().flatten(1)), nn.utils.weight_norm(conv()),
                        nn.Linear(256, 2)), SCAN, _without_hooks),
    "weight standardisation": (
        _layers(lambda: StandardisedConv3d(1, 4, 3), lambda: nn.GroupNorm(2, 4), nn.ReLU, nn.Flatten, _last), SCAN),
    "reflected borders": (
        _layers(lambda: nn.Conv3d(1, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU, nn.Flatten,
                lambda: nn.Linear(864, 2)), SCAN),
    "pixel shuffle": (
        lambda: Written(lambda m, x: m[1](F.pixel_unshuffle(m[0](x)[:, :, 0], 2).relu().flatten(1)), conv(),
                        nn.Linear(64, 2)), SCAN),
    "Bilinear": (lambda: Written(_bilinear, conv(), nn.Bilinear(4, 4, 2)), SCAN),
    "checkpointing": (_two(_checkpointed(False)), SCAN, one),
    "checkpointing, reentrant": (_two(_checkpointed(True)), SCAN, one),
    "GraphModule": (
        lambda: torch.fx.symbolic_trace(nn.Sequential(conv(), nn.BatchNorm3d(4), nn.ReLU(), nn.Flatten(), _last())),
        SCAN, lambda m: nn.Sequential(*(m.get_submodule(str(n)) for n in range(5)))),
    "torch.export": (_exported, SCAN),
    "Softplus": (_layers(conv, nn.Softplus, nn.Flatten, _last), SCAN),
    "Sigmoid inside": (_layers(conv, nn.Sigmoid, nn.Flatten, _last), SCAN, None, "", False, False),
    "Mish, SiLU, GELU, PReLU": (
        _layers(conv, nn.Mish, lambda: nn.Conv3d(4, 4, 1), nn.SiLU, lambda: nn.Conv3d(4, 4, 1), nn.GELU,
                lambda: nn.Conv3d(4, 4, 1), nn.PReLU, nn.Flatten, _last), SCAN),
    "softmax at the end": _ended(lambda z: z.softmax(1)),
    "log-softmax at the end": _ended(lambda z: F.log_softmax(z, dim=-1)),
    "sigmoid at the end": _ended(torch.sigmoid, 1),
    "sigmoid, reshaped": _ended(lambda z: torch.sigmoid(z).view(-1, 1), 1),
    "sigmoid, scaled, dropped, cast": _ended(lambda z: F.dropout(z.sigmoid() * 2, training=False).double(), 1),
    "sigmoid, cat([1 - p, p])": (
        _two(_both_probabilities, 1), SCAN, lambda m: Written(_both_logits, *m.layers)),
    "scan and age": (lambda: Written(_scan_and_age, conv(), nn.Linear(1, 4), nn.Linear(260, 2)), (*SCAN, (1,))),
    "two modalities": (lambda: Written(_two_scans, conv(), conv(), nn.Linear(256, 2)), (*SCAN, *SCAN)),
    "two time points": (_two(_time_points), (*SCAN, *SCAN)),
    "hemispheres": (lambda: Written(_hemispheres, conv(), nn.Linear(128, 2)), SCAN),
    "siamese on the batch axis": (_two(_siamese), SCAN),
    "h[:, 0] = 0": (_two(_overwritten), SCAN, _plain_overwritten),
    "h[h < 0] = 0": (_two(lambda m, x: m[1](_zeroed(m[0](x)).flatten(1))), SCAN, one),
    "ReLU by a mask of numbers": (
        _two(lambda m, x: m[1]((lambda h: h * (h > 0).to(h))(m[0](x)).flatten(1))), SCAN, one),
    "out=": (_two(_written_out), SCAN, one),
    "scatter_add": (lambda: Written(_scattered, conv(), nn.Linear(128, 2)), SCAN),
    "buffers that change": (Counting, SCAN, lambda m: one([m.conv, m.linear])),
    "expand_as": (
        lambda: Written(lambda m, x: (lambda h: m[1]((m.g.view(1, 4, 1, 1, 1).expand_as(h) * h).flatten(1)))(m[0](x)),
                        conv(), nn.Linear(256, 2), g=torch.rand(4)), SCAN),
    "CBAM": (lambda: Written(_cbam, conv(), nn.Linear(4, 4), nn.Conv3d(2, 1, 3, padding=1), nn.Linear(256, 2)), SCAN),
    "highway": (lambda: Written(_highway, conv(), nn.Conv3d(4, 4, 1), nn.Conv3d(4, 4, 1), nn.Linear(256, 2)), SCAN),
    "FiLM": (lambda: Written(_film, conv(), nn.Linear(1, 8), nn.Linear(256, 2)), (*SCAN, (1,))),
    "generalised mean": (
        lambda: Written(_gem, conv(), nn.Linear(4, 2), p=torch.tensor(3.0)), SCAN),
    "top k": (
        lambda: Written(lambda m, x: m[1](m[0](x).flatten(2).topk(3).values.mean(2)), conv(), nn.Linear(4, 2)), SCAN),
    "softmax by hand": (
        lambda: Written(_weights_by_hand(False), conv(), nn.Linear(4, 12), nn.Linear(4, 2)), SCAN,
        lambda m: Written(_weights_by_hand(True), *m.layers)),
    "MultiheadAttention, masked": (
        lambda: Written(_masked, conv(), nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)), SCAN,
        _plain_masked),
    "ConvNeXt": (
        lambda: Written(_next, conv(), nn.Conv3d(4, 4, 7, padding=3, groups=4), nn.LayerNorm(4), nn.Linear(4, 8),
                        nn.Sequential(nn.GELU(), nn.Linear(8, 4)), nn.Linear(256, 2)), SCAN),
    "Siamese |a - b|": (
        _two(lambda m, x, y: m[1]((m[0](x).relu() - m[0](y).relu()).abs().flatten(1))), (*SCAN, *SCAN)),
    "vmap": (_two(lambda m, x: m[1](torch.vmap(lambda one: m[0](one[None])[0].relu())(x).flatten(1))), SCAN),
    "LSTM over slices": (
        lambda: Written(_over_slices, conv(), nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 2)), SCAN, _stepwise),
    "GRU over slices, both ways": (
        lambda: Written(_over_slices, conv(), nn.GRU(4, 3, batch_first=True, bidirectional=True), nn.Linear(6, 2)),
        SCAN, _stepwise),
    "LSTM over visits": (
        lambda: Written(_over_visits, conv(), nn.LSTM(256, 4, 2), nn.Linear(4, 2)), (*SCAN, *SCAN), _stepwise),
    "expected age": (
        *_ended(lambda z: z.softmax(1) @ torch.arange(42.0, 82.0, dtype=z.dtype)[:, None], 40)[:2], None, "", False,
        False),
    "mean of softmaxes": (
        lambda: Written(lambda m, x: sum(n(m[0](x).relu().flatten(1)).softmax(1) for n in m[1:]) / 2, conv(),
                        nn.Linear(256, 2), nn.Linear(256, 2)), SCAN, None, "", False, False),
    "1 - sigmoid": (*_ended(lambda z: 1 - z.sigmoid(), 1)[:2], lambda m: Written(lambda n, x: -one(n)(x), *m.layers)),
    "log of softmax": _ended(lambda z: z.softmax(1).log()),
}  # fmt: skip
