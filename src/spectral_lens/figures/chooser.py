"""A page on which a reader chooses what to see; it works without a server or a network."""

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from torch import Tensor

from spectral_lens._runtime.extras import optional
from spectral_lens.figures.explanations import SIGNED
from spectral_lens.figures.style import as_array

__all__ = ["Chooser", "chooser"]


@dataclass(frozen=True, repr=False)
class Chooser:
    """Rows of small maps of which a reader sees one, chosen by two lists; works without a server or a network."""

    page: str

    def __repr__(self) -> str:
        return f"a page of {len(self.page)} bytes"

    def _repr_html_(self) -> str:
        return self.page


def chooser(
    rows: Mapping[tuple[str, str], Mapping[str, Float[Tensor, "height width"]]],
    *,
    names: tuple[str, str],
    images: Mapping[str, Float[Tensor, "c height width"]] | None = None,
    identifier: str,
) -> Chooser:
    """For each pair of choices a row of signed maps on one scale, beside the image of the first choice.

    names: of the two choices; identifier: of this chooser on its page.  The maps of a row have the titles of its keys.

    >>> import torch
    >>> page = chooser({("three", "0.1"): {"whole": torch.ones(8, 8)}}, names=("image", "γ"), identifier="one")
    >>> page.page.count("<img")
    1
    """
    first, second = (list(dict.fromkeys(pair[k] for pair in rows)) for k in (0, 1))
    parts = []
    for (a, b), maps in rows.items():
        largest = max(float(m.abs().max()) for m in maps.values()) or 1.0
        cells = [("image", _png(_grey(as_array(images[a]))), a)] if images else []
        for title, values in maps.items():
            colours = colormaps[SIGNED](as_array(values) / largest / 2 + 0.5)[..., :3]
            cells.append((title, _png(colours), f"heat map of {a}, {names[1]} {b}: {title}"))
        figures = "".join(
            f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'
            f"<figcaption>{html.escape(title)}</figcaption></figure>"
            for title, data, alt in cells
        )
        hidden = "" if (a, b) == (first[0], second[0]) else " hidden"
        parts.append(f'<div data-first="{html.escape(a)}" data-second="{html.escape(b)}"{hidden}>{figures}</div>')
    lists = "".join(
        f'<label>{html.escape(name)} <select name="{key}">'
        + "".join(f"<option>{html.escape(each)}</option>" for each in choices)
        + "</select></label> "
        for name, key, choices in zip(names, ("first", "second"), (first, second), strict=True)
    )
    return Chooser(_PAGE.replace("IDENTIFIER", identifier).replace("LISTS", lists).replace("ROWS", "".join(parts)))


_PAGE = """<div class="lens-chooser" id="IDENTIFIER"><p>LISTS</p>ROWS</div>
<style>
.lens-chooser > div { display: flex; flex-wrap: wrap; gap: 0.6rem; }
.lens-chooser > div[hidden] { display: none; }
.lens-chooser figure { margin: 0 !important; width: 5.5rem; }
.lens-chooser img { width: 100%; padding: 0 !important; image-rendering: pixelated; border: 1px solid #d0d0d0; }
.lens-chooser figcaption { font-size: 0.8rem; line-height: 1.3; }
.lens-chooser label { margin-right: 1.5rem; }
</style>
<script>
(() => {
  const box = document.getElementById("IDENTIFIER"), lists = box.querySelectorAll("select");
  const show = () => box.querySelectorAll(":scope > div").forEach(row => {
    row.hidden = row.dataset.first !== lists[0].value || row.dataset.second !== lists[1].value;
  });
  lists.forEach(list => list.addEventListener("change", show));
  show();
})();
</script>"""


def _grey(image: np.ndarray) -> np.ndarray:
    """Channels first to a picture: one channel is ink on white."""
    return np.repeat(1 - image[0][..., None], 3, -1) if image.shape[0] == 1 else np.moveaxis(image, 0, -1)


def _png(picture: Float[np.ndarray, "height width 3"]) -> str:
    with optional("figures"):
        from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((255 * np.clip(picture, 0, 1)).round().astype(np.uint8)).quantize(128).save(
        buffer, "png", optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode()
