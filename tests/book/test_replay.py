"""The numbers that a quick run prints."""

import nbformat

from spectral_lens.book import replay


def test_printed_numbers():
    def cell(*outputs, tags=()):
        return nbformat.v4.new_code_cell("1", outputs=list(outputs), metadata={"tags": list(tags)})

    def stream(text):
        return nbformat.v4.new_output("stream", text=text)

    figure = nbformat.v4.new_output("display_data", {"text/plain": "<Figure> at 0x7f12", "image/png": "4"})
    claim = nbformat.v4.new_output("display_data", {"text/plain": "chicchi.a2: 0.5 +- .1 (3 runs)", "text/html": "7"})
    cells = [
        cell(stream("layer1: 1.5e-3, -2 nan\n"), figure),
        cell(claim),
        cell(stream("8"), tags=["nbval-ignore-output"]),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("9"), *cells])
    assert replay.numbers(notebook) == ["1.5e-3", "-2", "nan", "0.5", ".1", "3"]
