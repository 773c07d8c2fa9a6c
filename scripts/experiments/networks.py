"""Networks of many kinds, small, that attribution is tried on: MONAI's, torchvision's, ours, and some written by hand.

`NETWORKS` holds them by name; ``NETWORKS[name].make()`` builds one with weights of its own, without training, and
``inputs()`` what it takes. `scripts/experiments/networks_table.py` tries all methods on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import networks_written as written
import torch
from monai.networks import nets
from monai.networks.nets import efficientnet
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn

from neuroxai import networks as ours


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes
    ----------
    build : callable
        Makes it.
    shapes : tuple of tuple of int
        Shapes of its inputs.
    plain : callable, optional
        Makes of it the same up to its logits, as plain layers one after the other: what it must not differ from.
    needs : str
        Package that is not installed with the project.
    large : bool
        Too slow for a test.
    gates : bool
        Whether its sigmoids are gates.
    kept : float
        Part of the relevance that LRP lets through: of a PatchIndividualFilter's two strains the mean is taken.
    """

    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    plain: Callable[[Any], nn.Module] | None = None
    needs: str = ""
    large: bool = False
    gates: bool = True
    kept: float = 1.0

    def make(self, shifts: bool = True) -> nn.Module:
        """Return it in float64 and evaluation mode; without `shifts` biases and running means are zero."""
        torch.manual_seed(0)
        model = self.build().double()
        with suppress(NotImplementedError):  # an exported one has no modes
            model.eval()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                assert module.running_var is not None
                module.running_var.mul_(torch.empty_like(module.running_var).uniform_(0.5, 2))
        with torch.no_grad():
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                if any(part in name for part in _SHIFTS) and tensor.is_floating_point():
                    tensor.copy_(0.1 * torch.randn_like(tensor) if shifts else torch.zeros_like(tensor))
        return model

    def inputs(self) -> tuple[Tensor, ...]:
        """Return what it takes, one sample."""
        generator = torch.Generator().manual_seed(1)
        return tuple(torch.randn(1, *shape, generator=generator, dtype=torch.float64) for shape in self.shapes)


# what acts as a bias
_SHIFTS = ("bias", "running_mean", "token", "position_embeddings", "place", "pos_encoding.")


def _cube(grid: int, channels: int = 1) -> tuple[tuple[int, ...], ...]:
    return ((channels, grid, grid, grid),)


def _pooled(network: nn.Module) -> nn.Module:
    return nn.Sequential(network, nn.AdaptiveAvgPool3d(1), nn.Flatten())


def _resnet(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(nets, name)(spatial_dims=3, n_input_channels=1, num_classes=2, **options)


def _monai(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(nets, name)(spatial_dims=3, in_channels=1, **options)


def _efficient(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        narrow = {name: (0.25, *efficientnet.efficientnet_params[name][1:])}  # a quarter of the first one's filters
        with patch.dict(efficientnet.efficientnet_params, narrow):
            network: nn.Module = nets.EfficientNetBN(
                name, pretrained=False, spatial_dims=3, in_channels=1, num_classes=2
            )
        norms: list[Any] = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
        for norm in norms:
            norm.momentum = None  # statistics of their own activations: of the usual ones no scan comes through
        with torch.no_grad():
            network(torch.randn(2, 1, 32, 32, 32))
        for norm in norms:
            norm.running_var.clamp_(min=0.3 * float(norm.running_var.mean()))
        return network

    return build


def _vit(**options: Any) -> nn.Module:
    size = {"hidden_size": 24, "mlp_dim": 32, "num_heads": 4, "num_layers": 2}
    vit = nets.ViT(1, (16,) * 3, (8,) * 3, classification=True, num_classes=2, **size, **options)
    return written.Written(lambda m, x: m[0](x)[0], vit)


def _swin(**options: Any) -> nn.Module:
    encoder = SwinTransformer(in_chans=1, embed_dim=12, window_size=(2,) * 3, patch_size=(2,) * 3, depths=(1, 2, 1, 1),
                              num_heads=(1, 2, 4, 8), **options)  # fmt: skip
    return written.Written(lambda m, x: m[1](m[0](x)[-1].mean((2, 3, 4))), encoder, nn.Linear(192, 2))


def _mednext(size: int, **options: Any) -> nn.Module:
    return _pooled(nets.MedNeXt(3, 4, 1, 2, kernel_size=size, blocks_down=(1, 1), blocks_up=(1, 1), blocks_bottleneck=1,
                                encoder_expansion_ratio=(2, 2), decoder_expansion_ratio=(2, 2), **options))  # fmt: skip


def _video(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision.models import video

        network: nn.Module = getattr(video, name)(num_classes=2, **options)
        return network

    return build


def _s3d() -> Any:
    network: Any = _video("s3d")()
    network.avgpool = nn.AdaptiveAvgPool3d(1)  # its own wants 224 x 224 pixels
    return network


def _mvit() -> nn.Module:
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    first = MSBlockConfig(1, 8, 16, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2])
    second = MSBlockConfig(2, 16, 16, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1])
    options = {"residual_pool": True, "residual_with_cls_embed": False, "rel_pos_embed": True, "proj_after_attn": True}
    network: nn.Module = MViT((16, 16), 4, [first, second], **options, num_classes=2)
    return network


def _swin3d() -> nn.Module:
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    network: nn.Module = SwinTransformer3d([2, 4, 4], 8, [2, 2], [2, 4], [2, 2, 2], num_classes=2)
    return network


def _mil(mode: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        tiles = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        options = {"backbone": tiles, "backbone_num_features": 8, "trans_blocks": 1}
        network: nn.Module = nets.MILModel(2, mode, pretrained=False, **options)
        return network

    return build


def _ours(name: str, grid: int = 36, **options: Any) -> Callable[[], nn.Module]:
    return lambda: ours.create(name, (grid,) * 3, padding="same", **options)


_BLOCK = {"init_features": 8, "growth_rate": 4, "block_config": (2, 2), "bn_size": 2}
_LEVELS = {"channels": (4, 8, 16), "strides": (2, 2, 2)}
NETWORKS: dict[str, Network] = {
    **{f"MONAI DenseNet{n}": Network(
        _monai(f"DenseNet{n}", out_channels=2, init_features=16, growth_rate=8), _cube(32), large=True)
       for n in (121, 169, 201, 264)},
    "MONAI DenseNet, ELU": Network(_monai("DenseNet", out_channels=2, act="elu", **_BLOCK), _cube(16)),
    **{f"MONAI ResNet{n}": Network(_resnet(f"resnet{n}", widen_factor=0.25), _cube(16), large=n > 34)
       for n in (10, 18, 34, 50, 101, 152, 200)},
    "MONAI ResNet18, shortcut A": Network(_resnet("resnet18", shortcut_type="A", widen_factor=0.25), _cube(16)),
    "MONAI ResNet34, shortcut A": Network(_resnet("resnet34", shortcut_type="A", widen_factor=0.25), _cube(16)),
    "MONAI SEResNet50": Network(_monai("SEResNet50", num_classes=2), _cube(32), large=True),
    **{f"MONAI {name}, one block a stage": Network(_monai(name, layers=(1,) * 4, num_classes=2), _cube(16), large=True)
       for name in ("SEResNet101", "SEResNet152", "SEResNext50", "SEResNext101", "SENet154")},
    "MONAI SENet, small": Network(
        _monai("SENet", block="se_bottleneck", layers=(1, 1, 1, 1), groups=8, reduction=4, inplanes=16, num_classes=2),
        _cube(32), large=True),
    **{f"MONAI EfficientNet-{b}": Network(_efficient(f"efficientnet-{b}"), _cube(32), large=True)
       for b in ("b0", "b1", "b2", "b3")},
    "MONAI Classifier": Network(lambda: nets.Classifier((1, 16, 16, 16), 2, **_LEVELS, act="elu"), _cube(16)),
    "MONAI Classifier, softmax": Network(
        lambda: nets.Classifier((1, 16, 16, 16), 2, **_LEVELS, last_act=("softmax", {"dim": 1})), _cube(16),
        lambda m: nn.Sequential(m.net, *[p for p in m.final if not isinstance(p, nn.Softmax)], m.reshape)),
    "MONAI Discriminator": Network(
        lambda: nets.Discriminator((1, 16, 16, 16), **_LEVELS), _cube(16),
        lambda m: nn.Sequential(m.net, *[p for p in m.final if not isinstance(p, nn.Sigmoid)], m.reshape)),
    "MONAI Critic": Network(lambda: nets.Critic((1, 16, 16, 16), **_LEVELS), _cube(16)),
    "MONAI Regressor": Network(lambda: nets.Regressor((1, 16, 16, 16), (2,), **_LEVELS), _cube(16)),
    "MONAI FullyConnectedNet": Network(lambda: nets.FullyConnectedNet(32, 2, (16, 8)), ((32,),)),
    "MONAI ViT": Network(lambda: _vit(post_activation=""), _cube(16)),
    "MONAI ViT, tanh at the end": Network(_vit, _cube(16)),
    "MONAI ViT, perceptron, no softmax": Network(
        lambda: _vit(post_activation="", proj_type="perceptron", pos_embed_type="sincos", qkv_bias=True), _cube(16),
        needs="einops"),
    "MONAI SwinUNETR's encoder": Network(_swin, _cube(32), needs="einops"),
    "MONAI SwinUNETR's encoder, v2": Network(lambda: _swin(use_v2=True), _cube(32), needs="einops", large=True),
    **{f"MONAI MILModel, {mode}": Network(_mil(mode), ((3, 1, 12, 12),), needs="torchvision")
       for mode in ("mean", "max", "att", "att_trans")},
    "MONAI U-Net": Network(lambda: _pooled(nets.UNet(3, 1, 2, (4, 8, 8), (2, 2), num_res_units=1)), _cube(16)),
    "MONAI attention U-Net": Network(lambda: _pooled(nets.AttentionUnet(3, 1, 2, (4, 8, 16), (2, 2))), _cube(16)),
    "MONAI BasicUNet": Network(
        lambda: _pooled(nets.BasicUNet(3, 1, 2, features=(4, 4, 8, 8, 8, 4))), _cube(32), large=True),
    "MONAI DynUNet": Network(
        lambda: _pooled(nets.DynUNet(3, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2], filters=(4, 8, 8))), _cube(16)),
    "MONAI HighResNet": Network(lambda: _pooled(nets.HighResNet(3, 1, 2)), _cube(8), large=True),
    "MONAI SegResNet": Network(lambda: _pooled(nets.SegResNet(3, 8, 1, 2)), _cube(16)),
    "MONAI VNet": Network(lambda: _pooled(nets.VNet(3, 1, 2)), _cube(16), large=True),
    "MONAI MedNeXt": Network(lambda: _mednext(3, use_residual_connection=True), _cube(16)),
    "MONAI MedNeXt, GRN": Network(lambda: _mednext(3, global_resp_norm=True), _cube(16)),
    "torchvision r3d_18": Network(_video("r3d_18"), ((3, 4, 16, 16),), needs="torchvision", large=True),
    "torchvision mc3_18": Network(_video("mc3_18"), ((3, 4, 16, 16),), needs="torchvision", large=True),
    "torchvision r2plus1d_18": Network(_video("r2plus1d_18"), ((3, 4, 16, 16),), needs="torchvision", large=True),
    "torchvision s3d": Network(_s3d, ((3, 8, 32, 32),), needs="torchvision", large=True),
    "torchvision mvit, small": Network(_mvit, ((3, 4, 16, 16),), needs="torchvision"),
    "torchvision swin3d, small": Network(_swin3d, ((3, 4, 32, 32),), needs="torchvision"),
    "ad_cnn": Network(_ours("ad_cnn"), _cube(36)),
    "ms_cnn": Network(_ours("ms_cnn", 27), _cube(27), large=True),
    "model_a": Network(_ours("model_a"), _cube(36)),
    "patch_cnn": Network(_ours("patch_cnn"), _cube(36)),
    "model_a_pif": Network(_ours("model_a_pif"), _cube(36), kept=0.5),
    "model_a_pif, one strain": Network(
        _ours("model_a_pif", overlap=None), _cube(36)),
    "model_b": Network(_ours("model_b"), _cube(36), large=True),
    "model_b_pif": Network(
        _ours("model_b_pif"), _cube(36), large=True, kept=0.5),
    **{name: Network(*parts) for name, parts in written.NETWORKS.items()},
}  # fmt: skip
