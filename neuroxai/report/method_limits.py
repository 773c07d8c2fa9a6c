"""What a family of methods can say, and what it cannot; one sentence or two a family, with where it is known from."""

from __future__ import annotations

_FAMILIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("lrp_", "deep_taylor"),
        "Layer-wise relevance propagation shares the score out, layer by layer; with rules that keep positive "
        "contributions alone, maps of different classes, and of networks with shuffled weights, may look alike "
        "(Sixt 2020): what is common to all scans says little.",
    ),
    (
        ("saliency", "smooth_grad"),
        "A gradient says where a small change would move the score, not which voxels made it; it shares nothing out.",
    ),
    (
        ("gradient_x_input", "integrated_gradients", "deep_lift"),
        "The map adds up to the score's difference from a baseline (an empty image, unless the options say otherwise); "
        "another baseline gives another map.",
    ),
    (
        ("guided_backprop", "guided_grad_cam"),
        "Guided back-propagation draws edges of the image, largely whatever the network has learnt (Adebayo 2018): "
        "it is no evidence of what the decision rests on.",
    ),
    (
        ("grad_cam",),
        "The map is as coarse as the layer it is taken from, and interpolated: it names neighbourhoods, not voxels.",
    ),
    (
        ("occlusion", "region_occlusion"),
        "Hiding a part shows what the score loses with it alone: parts that stand in for each other seem unimportant, "
        "and a scan with a hole is like none that the network was trained on.",
    ),
)


def limits_of(method: str) -> str:
    """Return the limits of a method by its name; empty for an unknown one."""
    exact = next((text for names, text in _FAMILIES if method in names), "")
    return exact or next((text for names, text in _FAMILIES if method.startswith(names)), "")
