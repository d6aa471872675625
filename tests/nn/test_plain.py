"""Layers that are not what their type says, and the plain ones that stand for them."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from layered_models import REPARAMETRISED, Doubled
from oracles import drawn
from spectral_lens.nn.layers import SpectralConv2d, SpectralLinear
from spectral_lens.nn.plain import AFFINE, altered, as_plain, check_plain, check_untied, copied, kind_of
from spectral_lens.nn.rewriting import fold, retract, spectralize

pytestmark = pytest.mark.usefixtures("double")

LAYERS = {
    "Linear": (lambda: nn.Linear(5, 3), (5,)),
    "SpectralLinear": (lambda: SpectralLinear(5, 3, bias=False), (5,)),
    "SpectralConv2d": (lambda: SpectralConv2d(2, 4, (1, 3), stride=2, groups=2, padding=1, dilation=2), (2, 7, 8)),
    "Conv1d": (lambda: nn.Conv1d(2, 4, 3, padding="same", padding_mode="circular", dilation=2), (2, 7)),
    "Conv2d": (lambda: nn.Conv2d(2, 4, 3, stride=2, groups=2, padding=1), (2, 7, 8)),
    "Conv3d": (lambda: nn.Conv3d(2, 4, 2, bias=False), (2, 3, 4, 3)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(2, 3, 3, stride=3, output_padding=2), (2, 5)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 4, (2, 3), groups=2, dilation=2), (2, 4, 3)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(2, 3, 2, padding=1), (2, 3, 2, 4)),
}


def hooked(kind):
    def change(layer):
        getattr(layer, f"register_{kind}")(lambda *given: None)
        return layer

    return change


def replaced(layer):
    layer.forward = lambda x: x
    return layer


CHANGED = REPARAMETRISED | {
    "hooked": hooked("forward_hook"),
    "hooked before": hooked("forward_pre_hook"),
    "hooked backwards": hooked("full_backward_hook"),
    "hooked before backwards": hooked("full_backward_pre_hook"),
    "replaced": replaced,
}


@pytest.mark.parametrize("change", CHANGED)
def test_what_changes_a_layer_is_seen(change):
    layer = nn.Linear(4, 4)
    assert altered(layer) == ""
    changed = CHANGED[change](layer)
    assert altered(changed)
    assert kind_of(changed) is nn.Linear
    with pytest.raises(ValueError, match=r"here \(Linear\) .*: make it a plain layer first"):
        check_plain("here", changed)


def test_the_way_back_to_a_plain_layer_is_said():
    ways = {
        "pruned": "prune.remove, remove_weight_norm or remove_spectral_norm",
        "parametrized": "parametrize.remove_parametrizations",
        "hooked": "remove its hooks",
        "replaced": "del layer.forward",
    }
    for change, way in ways.items():
        with pytest.raises(ValueError, match=rf"make it a plain layer first \({way}\)"):
            check_plain("here", CHANGED[change](nn.Linear(4, 4)))


@pytest.mark.parametrize("change", REPARAMETRISED)
@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("Spectral")])
@torch.no_grad()
def test_a_plain_copy_computes_what_a_reparametrised_layer_does(name, change):
    make, shape = LAYERS[name]
    if change == "pruned" and name.startswith("ConvTranspose"):
        pytest.skip("torch prunes it as any tensor: nothing of its own")
    layer, x = REPARAMETRISED[change](drawn(make())).eval(), torch.randn(3, *shape)
    plain = as_plain(layer)
    assert type(plain) is kind_of(layer)
    torch.testing.assert_close(plain(x), layer(x))
    for parameter in layer.parameters():
        parameter.mul_(0.7).add_(0.1)  # the weight that the layer holds is of before
    torch.testing.assert_close(as_plain(layer)(x), layer(x))


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_plain_layer_stands_for_each_affine_one(name):
    make, shape = LAYERS[name]
    layer, x = drawn(make()), torch.randn(3, *shape)
    assert kind_of(layer) in AFFINE
    torch.testing.assert_close(as_plain(layer)(x), layer(x))
    assert (as_plain(layer) is layer) == (not name.startswith("Spectral"))


# ---- whatever rewrites layers refuses those


@pytest.mark.parametrize("rewrite", [spectralize, retract])
@pytest.mark.parametrize("change", CHANGED)
def test_changed_layers_are_not_rewritten(rewrite, change):
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 3), CHANGED[change](nn.Linear(3, 3)))).eval()
    if rewrite is retract and parametrize.is_parametrized(model[1][1]):
        assert [type(layer) for layer in retract(model)[1]] == [nn.Linear, type(model[1][1])]  # a layer of another type
        return
    with pytest.raises(ValueError, match=r"1 \(Linear\)"):
        rewrite(model)


def test_what_torch_cannot_copy_is_named():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), REPARAMETRISED["old weight_norm"](nn.Conv1d(2, 3, 2)))
    with pytest.raises(ValueError, match="cannot be copied: 1 has a weight that a hook computes"):
        copied(model)


def test_changed_layers_are_not_folded():
    with pytest.raises(ValueError, match=r"0 \(SpectralLinear\) has hooks"):
        fold(nn.Sequential(hooked("forward_hook")(SpectralLinear(4, 3))))
    layer = SpectralConv2d(2, 3, 2)
    parametrize.register_parametrization(layer, "psi", Doubled())
    with pytest.raises(ValueError, match=r"the model \(SpectralConv2d\) is reparametrised"):
        fold(layer)


def test_an_identity_with_hooks_stays():
    model = nn.Sequential(nn.Linear(4, 3), hooked("forward_hook")(nn.Identity()), nn.Linear(3, 2))
    assert [type(layer) for layer in retract(model)] == [nn.Linear, nn.Identity, nn.Linear]


@pytest.mark.parametrize("rewrite", [spectralize, fold])
def test_shared_weights_are_not_torn_apart(rewrite):
    make = nn.Linear if rewrite is spectralize else SpectralLinear
    name = "weight" if rewrite is spectralize else "psi"
    model = nn.Sequential(make(4, 4), nn.ReLU(), make(4, 4))
    setattr(model[2], name, getattr(model[0], name))
    with pytest.raises(ValueError, match="0 and 2 share a parameter"):
        rewrite(model)
    one = make(4, 4)
    same = rewrite(nn.Sequential(one, nn.ReLU(), one))  # one layer in two places is one layer still
    assert same[0] is same[2]


def test_weights_that_others_share_are_none_of_ours():
    model = nn.Sequential(nn.Embedding(4, 3), nn.Embedding(4, 3), nn.Linear(3, 2))
    model[1].weight = model[0].weight
    check_untied(model, [nn.Linear])
    with pytest.raises(ValueError, match="0 and 1"):
        check_untied(model, [nn.Embedding])


def test_what_stays_as_it_is_is_said():
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Linear(9, 2), nn.ConvTranspose2d(2, 3, 2))
    with pytest.warns(UserWarning, match=r"no spectral form of 0 \(Conv1d\), 3 \(ConvTranspose2d\): left"):
        spectral = spectralize(model)
    assert type(spectral[0]) is nn.Conv1d
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectralize(spectral[2])
