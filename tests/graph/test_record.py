"""A record does what the network did: on this scan, on others, with other weights, in threads."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.eval_copy import eval_copy, warn_if_training
from neuroxai.graph.execute import Executor
from neuroxai.graph.operations import kind_of, name_of
from neuroxai.graph.record import record
from neuroxai.networks import ad_cnn, model_a_pif


class Network(nn.Module):
    """A network written as a function of itself and its input."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs, **named):
        return self.function(self, *inputs, **named)


def small(**more):
    return {"conv": nn.Conv3d(1, 4, 3), "norm": nn.BatchNorm3d(4), "fc": nn.Linear(256, 2), **more}


def scans(batch=2, seed=0):
    return torch.randn(batch, 1, 6, 6, 6, generator=torch.Generator().manual_seed(seed))


def execute(found, *inputs):
    return Executor(found).run(*inputs)


def recorded(model, *inputs, **named):
    """Record, and hold the record against the model on these inputs."""
    model.eval()
    found = record(eval_copy(model), inputs, named)
    with torch.no_grad():
        assert torch.equal(found.output, model(*inputs, **named))
        torch.testing.assert_close(execute(found, *inputs, *named.values()), found.output, rtol=1e-12, atol=0)
    return found


def python_in_forward(m, x):
    assert isinstance(x, torch.Tensor)
    assert x.ndim == 5
    assert len(x)
    h = nn.ReLU()(m.norm(m.conv(x))).contiguous()
    h = h + torch.ones(1, h.size(1), 1, 1, 1)
    parts = [h[:, i : i + 2] for i in range(0, h.shape[1], 2)]
    h = torch.cat(parts, dim=1)
    return m.fc(h.view(*h.shape[:1], -1))


def read_after_a_write(m, x):
    h = m.conv(x)
    first, kept = h[:, :2], h.flatten(1)
    first += 1
    h.relu_()
    h[:, 3] = h[:, 0] * 2
    z = torch.zeros(h.shape)
    z[..., 1:] = h[..., :-1]
    return m.fc((h + z).flatten(1) + kept)


def behind_the_back_of_autograd(m, x):
    h = m.conv(x)
    h.data.clamp_(min=0)
    with torch.no_grad():
        h = h * 2
    return m.fc(h.flatten(1))


def added_to_a_slice(m, x):
    h = m.conv(x)
    h[:, 1:] += h[:, :-1] * 0.5  # Python adds to a view, and then sets that view in the whole
    h[:, :2].mul_(h[:, :2])
    torch.mul(h[:, 0], 2, out=h[:, 3])
    return m.fc(h.flatten(1))


def written_by_what_is_opened_up(m, x):
    h = m.conv(x)
    h.addcmul_(h, h, value=0.5)
    h.square_()
    h.lerp_(torch.ones_like(h), 0.25)
    near = F.cosine_similarity(h.flatten(1)[:, None], m.fc.weight, dim=-1)
    out = torch.zeros(len(x), 2, dtype=x.dtype)
    torch.addmm(m.fc.bias, h.flatten(1), m.fc.weight.T, out=out)
    tokens, reads = h.flatten(2), torch.tensor([True, False, True, True])[:, None] & torch.ones(4, dtype=torch.bool)
    attended = F.scaled_dot_product_attention(tokens, tokens, tokens, reads)  # a query that may read nothing gets 0
    return out * 2 + near + attended.mean((1, 2))[:, None]


def an_alias_of_what_is_gone(m, x):
    return m.fc(m.conv(x).relu().as_subclass(Subclass).mul_(2).as_subclass(torch.Tensor).flatten(1))


class Subclass(torch.Tensor):
    """As users make them."""


FORWARDS = {
    "alias": an_alias_of_what_is_gone,
    "subclass": lambda m, x: m.fc(m.conv(x).as_subclass(Subclass).relu().as_subclass(torch.Tensor).flatten(1)),
    "opened": lambda m, x: (lambda h: m.fc(F.pad((h * torch.heaviside(h, h.new_zeros(()))).diff(dim=2),
                                                 (0, 0, 0, 0, 1, 0)).flatten(1)))(m.conv(x)),
    "of its shape": lambda m, x: (lambda h: m.fc((m.norm.weight.view(1, -1, 1, 1, 1).expand_as(h) * h).view_as(h)
                                                 .flatten(1).type_as(m.fc.bias)))(m.conv(x)),
    "in place by position": lambda m, x: (lambda h: m.fc((F.dropout(h, 0.0, False, True) + F.elu(h, 1.0, True) + h)
                                                         .flatten(1)))(m.conv(x)),
    "slice": added_to_a_slice,
    "python": python_in_forward,
    "writes": read_after_a_write,
    "data": behind_the_back_of_autograd,
    "functional": lambda m, x: F.linear(
        F.batch_norm(F.conv3d(x, m.conv.weight), m.norm.running_mean, m.norm.running_var).relu().flatten(1),
        m.fc.weight,
    ),
    "checkpoint": lambda m, x: m.fc(checkpoint(lambda y: m.conv(y).relu(), x, use_reentrant=False).flatten(1)),
    "reentrant": lambda m, x: m.fc(checkpoint(lambda y: m.conv(y).relu(), x, use_reentrant=True).flatten(1)),
    "twice": lambda m, x: m.fc((m.norm(m.norm(m.conv(x)))).flatten(1)),
    "pieces": lambda m, x: m.fc(torch.stack(m.conv(x).relu().chunk(2, 1)[::-1]).sum(0).repeat(1, 2, 1, 1, 1)
                                 .flatten(1)),
    "index": lambda m, x: m.fc(m.conv(x)[:, [3, 2, 1, 0]].flatten(1)),
    "where": lambda m, x: (lambda h: m.fc(torch.where(h > 0, h, h * 0.1).masked_fill(h > 2, 2.0)
                                                         .flatten(1)))(m.conv(x)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", FORWARDS)
def test_a_record_repeats_the_network_on_other_scans(name):
    torch.manual_seed(0)
    model = Network(FORWARDS[name], **small())
    model.norm.running_mean.normal_()
    found = recorded(model, scans())
    other = scans(seed=1)
    with torch.no_grad():
        assert torch.equal(execute(found, other), model(other))
    assert not found.of_one_scan


def test_what_is_opened_up_and_writes_in_place_has_written():
    torch.manual_seed(0)
    model = Network(written_by_what_is_opened_up, **small()).double().eval()
    found, x = record(eval_copy(model), (scans().double(),)), scans(seed=1).double()
    with torch.no_grad():
        torch.testing.assert_close(found.output, model(scans().double()))
        torch.testing.assert_close(execute(found, x), model(x))


def test_sizes_are_numbers_and_layers_bear_their_names():
    found = recorded(Network(python_in_forward, **small()), scans())
    labels = {node.meta["label"]: node.meta["operation"] for node in found.graph.nodes if node.op == "call_function"}
    assert (labels["conv"], labels["norm"], labels["fc"]) == ("conv3d", "batch_norm", "linear")
    assert "size" not in labels.values()
    line = next(node.meta["line"] for node in found.graph.nodes if node.meta["operation"] == "cat")
    assert line.endswith("test_record.py: h = torch.cat(parts, dim=1)")


@pytest.mark.parametrize("make", [lambda: ad_cnn((96, 114, 96)), lambda: model_a_pif((96, 114, 96))])
def test_published_networks(make):
    found = recorded(make(), torch.randn(1, 1, 96, 114, 96))
    kinds = [kind_of(node) for node in found.graph.nodes if node.op.startswith("call_")]
    assert kinds.count("filter") >= 4


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        (F.relu, "relu"), (torch.relu_, "relu"), (torch.Tensor.relu_, "relu"), (torch.ops.aten.relu.default, "relu"),
        (torch.Tensor.__add__, "add"), (torch.Tensor.__iadd__, "add"), (torch.Tensor.__radd__, "add"),
        (torch.Tensor.__rsub__, "rsub"), (torch.Tensor.__rtruediv__, "rdiv"), (torch.true_divide, "div"),
        (torch.concat, "cat"), (torch.Tensor.__getitem__, "getitem"), (torch.Tensor.data.__get__, "detach"),
        (torch.Tensor.T.__get__, "T"), (F.max_pool3d, "max_pool3d"), (F.max_pool3d_with_indices, "max_pool3d"),
        (torch.Tensor.float, "float"), (torch.Tensor.__float__, "float_"), (torch.Tensor.__matmul__, "matmul"),
    ],
)  # fmt: skip
def test_one_name_for_each_operation(spelled, name):
    assert name_of(spelled) == name


def test_later_weights_are_read_anew():
    model = Network(python_in_forward, **small(conv=nn.utils.parametrizations.weight_norm(nn.Conv3d(1, 4, 3))))
    found, x = recorded(model, scans()), scans()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
        model.norm.running_mean.add_(1)
        assert torch.equal(execute(found, x), model(x))


def test_a_value_taken_out_of_a_tensor_ties_the_record_to_the_scan():
    for function in (
        lambda m, x: x.flatten(1) if x.sum() > 0 else -x.flatten(1),
        lambda m, x: x.flatten(1) * x.max().item(),
        lambda m, x: x.flatten(1) * float(x[0, 0, 0, 0, 0]),
        lambda m, x: x.flatten(1) * x.mean().tolist(),
    ):
        assert "test_record.py" in recorded(Network(function), scans()).of_one_scan
    assert not recorded(Network(lambda m, x: x.flatten(1) * m.scale.item(), scale=torch.ones(())), scans()).of_one_scan


def test_of_what_only_lends_its_shape_nothing_depends():
    model = Network(lambda m, x: (lambda h: h * m.fc.bias.sum().expand_as(h))(x.flatten(1)), **small())
    nodes = {node.meta["operation"]: node for node in recorded(model, scans()).graph.nodes}
    assert nodes["mul"].meta["depends"]
    assert not nodes["expand"].meta["depends"]
    model = Network(lambda m, x: (x * (x > 0).to(x)).flatten(1))
    nodes = {node.meta["operation"]: node for node in recorded(model, scans()).graph.nodes}
    assert nodes["to"].meta["depends"]
    assert not nodes["to"].meta["carries"]  # a mask of numbers is a mask


def test_buffers_that_forward_changes_stay_as_they_are():
    def counted(m, x):
        m.seen += 1
        m.norm.running_mean = m.norm.running_mean + x.mean()
        return m.fc(m.conv(x).flatten(1)) * m.seen

    model = Network(counted, **small()).eval()
    model.register_buffer("seen", torch.ones(()))
    found = record(eval_copy(model), (scans(),))
    assert float(model.seen) == 1
    assert not model.norm.running_mean.any()
    model.seen.fill_(3)  # read anew
    wanted = model.fc(model.conv(scans()).flatten(1)) * 4
    torch.testing.assert_close(execute(found, scans()), wanted, rtol=1e-6, atol=1e-6)


def test_several_inputs_and_names():
    model = Network(lambda m, x, age, scale=None: m.fc(m.conv(x).flatten(1)) * scale + age, **small())
    found = recorded(model, scans(), torch.rand(2, 1), scale=torch.rand(2, 1))
    assert len(found.inputs) == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
def test_any_order_of_writes_and_views_is_read_as_it_ran(program):
    """Six kinds of writes into views of one tensor, in any order, read through views made before and after."""

    def run(m, x):
        h = m.conv(x)
        views = [h, h[:, 1:3], h.transpose(1, 2), h.flatten(1)]
        for kind, at, other in program:
            view = views[at]
            if kind == 0:
                view.mul_(1.25)
            elif kind == 1:
                view += views[other].sum()
            elif kind == 2:
                view[:, :1] = view[:, -1:] * 0.5
            elif kind == 3:
                view.data.clamp_(-1, 1)
            elif kind == 4:
                F.relu(view, inplace=True)
            else:
                views.append(h[:, :, 1:])
        return sum(view.reshape(len(view), -1).sum(1, keepdim=True) * (i + 1) for i, view in enumerate(views))

    torch.manual_seed(0)
    model = Network(run, conv=nn.Conv3d(1, 4, 3)).double()
    found, other = recorded(model, scans().double()), scans(seed=1).double()
    with torch.no_grad():  # sums add up in another order where the layout is another
        torch.testing.assert_close(execute(found, other), model(other), rtol=1e-10, atol=1e-10)


def test_what_cannot_be_followed_is_refused_by_name():
    scripted = nn.Sequential(torch.jit.script(nn.Conv3d(1, 1, 1)), nn.Flatten()).eval()
    with pytest.raises(UnsupportedLayerError, match=r"layer '0' \(RecursiveScriptModule\): what runs there cannot be"):
        record(eval_copy(scripted), (scans(),))
    silent = nn.Sequential(nn.Conv3d(1, 1, 1), torch.jit.script(nn.ReLU(inplace=True)), nn.Flatten()).eval()
    with pytest.raises(UnsupportedLayerError, match=r"layer '0' \(Conv3d\) put out was written into by something"):
        record(eval_copy(silent), (scans(),))
    traced = torch.jit.trace(nn.Sequential(nn.Conv3d(1, 1, 1), nn.Flatten()).eval(), scans())
    with pytest.raises(UnsupportedLayerError, match="TopLevelTracedModule cannot be followed back to the input"):
        record(eval_copy(traced), (scans(),))
    sparse = Network(lambda m, x: torch.sparse.mm(torch.eye(2).to_sparse(), x.flatten(1))).eval()
    with pytest.raises(UnsupportedLayerError, match=r"line \d+ of test_record.py.*sparse.*use dense tensors"):
        record(eval_copy(sparse), (scans(),))
    noisy = Network(lambda m, x: (x + torch.rand(1)).flatten(1)).eval()
    with pytest.raises(UnsupportedLayerError, match="draws random numbers"):
        record(eval_copy(noisy), (scans(),))
    dropped = Network(lambda m, x: F.dropout(x).flatten(1)).eval()  # its dropout is on in evaluation, too
    with pytest.raises(UnsupportedLayerError, match="draws random numbers"):
        record(eval_copy(dropped), (scans(),))
    pair = Network(lambda m, x: (x, x)).eval()
    with pytest.raises(UnsupportedLayerError, match="returns a tuple; wrap it"):
        record(eval_copy(pair), (scans(),))
    lone = Network(lambda m, x: x.sum()).eval()
    with pytest.raises(UnsupportedLayerError, match="returns a lone number; wrap it"):
        record(eval_copy(lone), (scans(),))
    attended = Network(lambda m, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1).flatten(1)).eval()
    with pytest.raises(UnsupportedLayerError, match="draws random numbers"):  # it knows no evaluation mode
        record(eval_copy(attended), (scans(),))
    mapped = Network(lambda m, x: m.fc(torch.vmap(m.conv)(x[:, None])[:, 0].flatten(1)), **small()).eval()
    with pytest.raises(UnsupportedLayerError, match=r"line \d+ of test_record.py.*torch.func.*loop over slices"):
        record(eval_copy(mapped), (scans(),))

    def slope(m, x):
        with torch.enable_grad():
            x = x.requires_grad_(True)
            return torch.autograd.grad(m.conv(x).sum(), x)[0].flatten(1)

    with pytest.raises(UnsupportedLayerError, match=r"'grad', line \d+ of test_record.py.*gradients in forward"):
        record(eval_copy(Network(slope, **small()).eval()), (scans(),))
    doubled = torch.compile(lambda h: h * 2, backend="eager")
    with pytest.raises(UnsupportedLayerError, match=r"compiled by torch.compile.*take the decorator off"):
        record(eval_copy(Network(lambda m, x: doubled(x).flatten(1)).eval()), (scans(),))
    numbers = Network(lambda m, x: torch.from_numpy(x.numpy() * 2).flatten(1)).eval()
    with pytest.raises(UnsupportedLayerError, match=r"test_record.py.*takes values out of a tensor\): what runs there"):
        record(eval_copy(numbers), (scans(),))
    constant = Network(lambda m, x: m.bias + torch.zeros_like(x).flatten(1), bias=nn.Parameter(torch.ones(1))).eval()
    with pytest.raises(UnsupportedLayerError, match="do not depend on the input"):
        record(eval_copy(constant), (scans(),))
    wrong = nn.Sequential(nn.Conv3d(1, 1, 1), nn.Flatten(), nn.Linear(7, 2)).eval()
    with pytest.raises(InputError, match=r"layer '2' \(Linear\): 216 features arrive, expected 7"):
        record(eval_copy(wrong), (scans(),))


def wrappers():
    """The same network, wrapped and patched as its users' tools do."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    plain[1].running_mean.normal_()
    found = {name: copy.deepcopy(plain) for name in ("plain", "in place", "patched", "offloaded", "training")}
    found["in place"].compile()
    found["patched"].forward = types.MethodType(lambda self, x: nn.Sequential.forward(self, x), found["patched"])
    conv = found["offloaded"][0]  # as accelerate does
    conv._old_forward, conv._hf_hook = conv.forward, object()
    conv.forward = functools.update_wrapper(
        functools.partial(lambda module, *a, **k: module._old_forward(*a, **k), conv), conv.forward
    )
    found["compiled part"] = copy.deepcopy(plain)
    found["compiled part"][0] = torch.compile(found["compiled part"][0])
    found["parallel part"] = copy.deepcopy(plain)
    found["parallel part"][0] = nn.DataParallel(found["parallel part"][0])
    found["compiled"] = torch.compile(copy.deepcopy(plain))
    found["parallel"] = nn.DataParallel(copy.deepcopy(plain))
    found["exported"] = torch.export.export(copy.deepcopy(plain).eval(), (scans(),)).module()
    found["graph"] = torch.fx.symbolic_trace(copy.deepcopy(plain))
    kept = copy.deepcopy(plain)
    found["in a list"] = Network(lambda m, x: functools.reduce(lambda h, part: part(h), m.parts, x), parts=list(kept))
    return plain.eval(), found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [lambda h, w: h.addmm_(h, w), lambda h, w: torch.addmm(h, h, w, out=h)])
def test_a_matrix_product_that_writes_into_its_factor_is_refused(write):
    model = Network(lambda m, x: m.fc(write(x * 1, m.w)), fc=nn.Linear(32, 2), w=nn.Parameter(torch.randn(32, 32)))
    with pytest.raises(UnsupportedLayerError, match=r"'addmm', line \d+ of .*write out of place"):
        record(eval_copy(model), [torch.randn(32, 32)])
    into_another = Network(lambda m, x: m.fc((x * 1).addmm_(x, m.w)), fc=model.fc, w=model.w)
    recorded(into_another, torch.randn(32, 32))


def test_wrapped_and_patched_models_are_seen_through_and_left_alone():
    plain, models = wrappers()
    with torch.no_grad():
        wanted = plain(scans())
    for name, model in models.items():  # all of them in training mode, but for what was exported
        before = {key: value.clone() for key, value in model.state_dict().items()}
        modes = [module.training for module in model.modules()]
        if name == "in a list":
            before |= {f"kept {i}": value.clone() for i, value in enumerate(model.parts[1].buffers())}
        found = record(eval_copy(model), (scans(),))
        torch.testing.assert_close(found.output, wanted, msg=name)
        torch.testing.assert_close(execute(found, scans()), wanted, msg=name)
        after = dict(model.state_dict())
        if name == "in a list":
            after |= {f"kept {i}": value for i, value in enumerate(model.parts[1].buffers())}
        assert all(torch.equal(before[key], after[key]) for key in before), name
        assert modes == [module.training for module in model.modules()], name


def test_a_forward_that_would_train_is_refused():
    model = nn.Sequential(nn.Sequential(nn.BatchNorm3d(1)), nn.Flatten())
    inner = model[0]
    inner.forward = lambda x: inner[0](x)
    with pytest.raises(UnsupportedLayerError, match=r"forward of '0' \(Sequential\) was replaced.*call model.eval"):
        eval_copy(model)
    assert recorded(model, scans())


def test_records_are_made_while_others_infer():
    torch.manual_seed(0)
    model, x = Network(read_after_a_write, **small()).eval(), scans()
    with torch.no_grad():
        wanted = model(x)
    stop, wrong = threading.Event(), []

    def infer():
        while not stop.is_set():
            with torch.no_grad():
                if not torch.equal(model(x), wanted):
                    wrong.append(1)

    threads = [threading.Thread(target=infer) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: record(eval_copy(model), (x,)).output, range(40)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert all(torch.equal(output, wanted) for output in found)


def test_an_exported_program_which_has_no_modes_is_no_model_in_training():
    model = nn.Sequential(nn.Linear(4, 2)).eval()
    exported = torch.export.export(model, (torch.randn(1, 4),)).module()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_training(exported)
    with pytest.warns(UserWarning, match="in training mode"):
        warn_if_training(nn.Sequential(nn.Linear(4, 2)))


@pytest.mark.full(1)
def test_a_refused_compiled_function_leaves_nothing_behind_when_python_ends():
    program = """
import torch
from torch import nn
from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.graph.record import record

doubled = torch.compile(lambda h: h * 2, backend="eager")

class Network(nn.Module):
    def forward(self, x):
        return doubled(x).flatten(1)

for _ in range(2):  # what the compiler keeps of the first run is refused as well
    try:
        record(eval_copy(Network().eval()), (torch.rand(1, 1, 4, 4, 4),))
    except UnsupportedLayerError:
        print("refused")
"""
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["refused", "refused"]
    assert "Exception ignored" not in ended.stderr


def test_a_recorded_layer_runs_as_its_own_again():
    found = recorded(model_a_pif((96, 114, 96)), torch.randn(1, 1, 96, 114, 96))
    assert not any("forward" in vars(module) for module in found.root.model.modules())
    nodes = list(found.graph.nodes)
    execute(found, torch.randn(1, 1, 96, 114, 96))
    assert list(found.graph.nodes) == nodes
