"""Neural networks seen through their spectra.

What most work begins with, by task; `help(spectral_lens.lrp)` explains one of them.

* Build a network: `SpectralLinear`, `SpectralConv2d`, `mlp`, `cnn`
* Rewrite your own: `spectralize`, `fold`, `retract`
* Train many runs side by side: `DataSet`, `fit`, `predict`, `accuracy`
* Find the inputs that matter: `of_inputs`, `ranking`, `SpectralSelector`
* Take its derivatives as operators: `jacobian`, `tangent_kernel`, `hessian`, `ggn`, `LinearOperator`
* Explain all its outputs: `lrp`, `saliency`, `integrated_gradients`
* Judge an explanation: `redistribution`, `ssm`
* Measure its stability: `gmsi`, `diagnose`

All else stands in the rooms nn, training, relevance, operators, explain, stability, datasets, intervals, figures and
claims.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectral_lens.datasets import DataSet as DataSet
    from spectral_lens.explain.gradients import integrated_gradients as integrated_gradients
    from spectral_lens.explain.gradients import saliency as saliency
    from spectral_lens.explain.lrp import lrp as lrp
    from spectral_lens.explain.quality import redistribution as redistribution
    from spectral_lens.explain.quality import ssm as ssm
    from spectral_lens.nn.convnets import cnn as cnn
    from spectral_lens.nn.layers import SpectralConv2d as SpectralConv2d
    from spectral_lens.nn.layers import SpectralLinear as SpectralLinear
    from spectral_lens.nn.mlp import mlp as mlp
    from spectral_lens.nn.rewriting import fold as fold
    from spectral_lens.nn.rewriting import retract as retract
    from spectral_lens.nn.rewriting import spectralize as spectralize
    from spectral_lens.operators.hessian import ggn as ggn
    from spectral_lens.operators.hessian import hessian as hessian
    from spectral_lens.operators.jacobian import jacobian as jacobian
    from spectral_lens.operators.linear import LinearOperator as LinearOperator
    from spectral_lens.operators.tangent_kernel import tangent_kernel as tangent_kernel
    from spectral_lens.relevance.scores import of_inputs as of_inputs
    from spectral_lens.relevance.scores import ranking as ranking
    from spectral_lens.relevance.selector import SpectralSelector as SpectralSelector
    from spectral_lens.stability.diagnostics import diagnose as diagnose
    from spectral_lens.stability.index import gmsi as gmsi
    from spectral_lens.training import accuracy as accuracy
    from spectral_lens.training import fit as fit
    from spectral_lens.training import predict as predict

__version__ = "0.1.0"

# Where each name is found; it is imported when it is first asked for, so that `import spectral_lens` costs nothing.
_WHERE = {
    "SpectralLinear": "nn.layers",
    "SpectralConv2d": "nn.layers",
    "mlp": "nn.mlp",
    "cnn": "nn.convnets",
    "spectralize": "nn.rewriting",
    "fold": "nn.rewriting",
    "retract": "nn.rewriting",
    "DataSet": "datasets",
    "fit": "training",
    "predict": "training",
    "accuracy": "training",
    "of_inputs": "relevance.scores",
    "ranking": "relevance.scores",
    "SpectralSelector": "relevance.selector",
    "jacobian": "operators.jacobian",
    "tangent_kernel": "operators.tangent_kernel",
    "hessian": "operators.hessian",
    "ggn": "operators.hessian",
    "LinearOperator": "operators.linear",
    "lrp": "explain.lrp",
    "saliency": "explain.gradients",
    "integrated_gradients": "explain.gradients",
    "redistribution": "explain.quality",
    "ssm": "explain.quality",
    "gmsi": "stability.index",
    "diagnose": "stability.diagnostics",
}
__all__ = list(_WHERE)


if not TYPE_CHECKING:  # with it, a type checker would take every name for granted

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
        globals()[name] = found  # from now on it is an attribute like any other
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
