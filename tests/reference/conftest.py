"""The kernels that nbval starts for the references get the environment that the runner gives to the quick profile."""

import functools
from collections.abc import Generator

import nbval.plugin
import pytest

from spectral_lens.book import runner
from spectral_lens.book.chapters import chapter

# What runs in a kernel does not count as tested, and starting to measure there takes longer than nbval waits for.
nbval.plugin.setup_coverage = nbval.plugin.teardown_coverage = lambda *_: None


@functools.cache
def _environment(stem: str) -> dict[str, str]:
    return runner.environment(runner.plan(chapter(stem.replace("__", "/")), "quick"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """A notebook's kernel starts in the set-up of its first cell and inherits what stands in os.environ then."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _environment(item.path.stem).items():
            patch.setenv(name, value)
        return (yield)
