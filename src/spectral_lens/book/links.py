"""Sphinx extension: launch, edit, issue and source buttons and the citation link, where the repository is known.

The one setting is `repository: url:` in `_config.yml`. While it is empty no page points to a repository.
"""

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sphinx.application import Sphinx
from sphinx.config import Config

BUTTONS = ("use_repository_button", "use_edit_page_button", "use_issues_button", "use_source_button")


def configure(app: Sphinx, config: Config) -> None:
    """Switch the theme's buttons on or off, before the theme reads its options."""
    options = config.html_theme_options
    url = (options.get("repository_url") or "").strip().rstrip("/")
    options["repository_url"] = url
    options.update(dict.fromkeys(BUTTONS, bool(url)))
    if not url:
        options["launch_buttons"] = {}
        return
    if "github.com" not in url:  # the only provider that Colab opens from
        options["launch_buttons"] = {**options.get("launch_buttons", {}), "colab_url": ""}
    branch = options.get("repository_branch") or "main"
    citation = escape(f"{url}/blob/{branch}/CITATION.cff", quote=True)
    options["extra_footer"] = f'<p class="lens-cite"><a href="{citation}">How to cite this book</a></p>'


def launch(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Point each launch button to what its service opens: Binder a text notebook, Colab only an executed one."""
    groups = [g for g in context.get("header_buttons", []) if g.get("label") == "launch-buttons"]
    record = Path("data/runs/paper") / f"{pagename.removeprefix('book/')}.ipynb"
    for group in groups:
        kept = []
        for button in group["buttons"]:
            if button["text"] == "Binder":
                # JupyterLab would open the text in an editor; Jupyter Notebook 7 can be told to take it as a notebook.
                path = f"notebooks/{pagename}.md?factory=Jupytext Notebook"
                button["url"] = button["url"].partition("?")[0] + f"?urlpath={quote(path, safe='')}"
            elif button["text"] == "Colab":
                if not (Path(app.srcdir) / record).is_file():
                    continue
                button["url"] = button["url"].replace(f"{pagename}.md", record.as_posix())
            kept.append(button)
        group["buttons"] = kept


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("config-inited", configure)
    app.connect("html-page-context", launch, priority=502)  # after the theme has drawn its buttons (501)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
