"""Layer-wise relevance propagation under the names of the registry."""

from __future__ import annotations

from torch import nn

from neuroxai.lrp import LRP, Gamma, Zero, composites


def lrp_zero(model: nn.Module) -> LRP:
    """LRP-0 (Bach 2015, eq. 56), stabilised by 1e-6 like every rule."""
    return LRP(model, composites.everywhere(Zero()))


def lrp_epsilon(model: nn.Module, *, epsilon: float = 1e-6) -> LRP:
    """Epsilon rule (Bach 2015, eq. 58); Eitel 2019 uses epsilon = .001."""
    return LRP(model, composites.epsilon(epsilon))


def lrp_gamma(model: nn.Module, *, gamma: float = 0.25) -> LRP:
    """Gamma rule (Montavon 2019), generalised to inputs of any sign."""
    return LRP(model, composites.everywhere(Gamma(gamma=gamma)))


def lrp_alpha_beta(model: nn.Module, *, beta: float = 0.0) -> LRP:
    """Alpha-beta rule with alpha = 1 + beta (Bach 2015, eq. 60)."""
    return LRP(model, composites.alpha_beta(beta))


def lrp_z_plus(model: nn.Module) -> LRP:
    """z+ rule (Montavon 2017, eq. 14)."""
    return LRP(model, composites.z_plus())


def deep_taylor(model: nn.Module, *, low: float | None = None, high: float | None = None) -> LRP:
    """Deep Taylor decomposition (Montavon 2017): z+ in hidden layers, and in the first layer z-box or w-square.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    low, high : float, optional
        Bounds of the scan's intensities (0 and 1 for a scan scaled to its maximum): z-box. Without them the input is
        taken as unbounded: w-square, which depends on the scan through the layers above alone.
    """
    return LRP(model, composites.deep_taylor(low, high))


def lrp_epsilon_plus_flat(model: nn.Module, *, epsilon: float = 1e-6) -> LRP:
    """Flat rule in the first layer, z+ in the other convolutions, epsilon in linear layers (Kohlbrenner 2020)."""
    return LRP(model, composites.epsilon_plus_flat(epsilon))


def lrp_epsilon_gamma_box(
    model: nn.Module, *, low: float = 0.0, high: float = 1.0, epsilon: float = 1e-6, gamma: float = 0.25
) -> LRP:
    """z-box in the first layer, gamma in the other convolutions, epsilon in linear layers (Montavon 2019).

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    low, high : float
        Bounds of the scan's intensities; 0 and 1 for a scan scaled to its maximum.
    epsilon, gamma : float
        Stabiliser, and by how much positive contributions are favoured.
    """
    return LRP(model, composites.epsilon_gamma_box(low, high, epsilon, gamma))


def lrp_eitel2019(model: nn.Module) -> LRP:
    """Epsilon rule with epsilon = .001, as in the multiple sclerosis study of Eitel 2019."""
    return LRP(model, composites.eitel2019())


def lrp_boehle2019(model: nn.Module, *, beta: float = 0.0) -> LRP:
    """Beta rule as in the code of Boehle 2019."""
    return LRP(model, composites.boehle2019(beta))
