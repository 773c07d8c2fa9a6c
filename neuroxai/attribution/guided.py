"""What guided back-propagation can explain: networks whose only activations are ReLU layers."""

from __future__ import annotations

from torch import nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import operations as known
from neuroxai.lrp.inplace import refuse_shared_writes
from neuroxai.lrp.shadow import shadow, unwrapped
from neuroxai.lrp.trace import describe, trace

_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.modules.batchnorm._BatchNorm)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_MORE_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_LAYERS = (nn.ReLU, *_LINEAR, *_POOLS, *_MORE_POOLS, *known.INACTIVE, *known.RESHAPE_MODULES)
_FUNCTIONS = {
    *known.POOL_FUNCTIONS,
    *known.DROPOUT_FUNCTIONS,
    *known.RESHAPE_FUNCTIONS,
    *known.PERMUTE_FUNCTIONS,
    *known.ADD_FUNCTIONS,
    *known.CAT_FUNCTIONS,
}
_METHODS = known.RESHAPES | known.PERMUTES | known.SAME | known.SIZES | known.ADDS


def refuse_other_activations(model: nn.Module) -> None:
    """Refuse networks where the rule for ReLU would not reach every activation.

    Captum's guided back-propagation changes the gradient of ``torch.nn.ReLU`` layers only; any other activation, or a
    functional one, would silently keep its plain gradient.

    Raises
    ------
    UnsupportedLayerError
        Naming the layer or operation, or because the network cannot be traced.
    """
    graph, modules = trace(shadow(unwrapped(model), inplace=True))
    refuse_shared_writes(graph, modules)
    sizes: set[object] = set()
    for node in graph.nodes:
        inputs = node.all_input_nodes
        reads_size = node.target is getattr or (node.op == "call_method" and node.target in known.SIZES)
        if reads_size or (inputs and sizes.issuperset(inputs)):
            sizes.add(node)
        if node.op == "call_module":
            good = isinstance(modules[node.target], _LAYERS)
        elif node.op == "call_function":
            good = node in sizes or node.target in _FUNCTIONS
        elif node.op == "call_method":
            good = node in sizes or node.target in _METHODS
        else:
            good = node.op in ("placeholder", "output")
        last = all(reader.op == "output" for reader in node.users)
        if not good and not (last and known.probability(node, modules)):
            raise UnsupportedLayerError(
                f"{describe(node, modules)}: guided_backprop knows torch.nn.ReLU layers as the only activation; any "
                "other would keep its plain gradient. Use saliency or an lrp method for this network"
            )
