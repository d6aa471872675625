"""The engine on a real Slurm: kernels, jobs, controllers and nodes that go down in the midst. Skipped where none runs.

A job costs some twenty seconds there, so one sweep goes through several ends.
"""

import contextlib
import shutil
import signal
import subprocess
import time

import psutil
import pytest
import yaml
from toy_chapters import page, write
from toy_runs import CELL, PARAMETERS, call, count, started, there, until

from spectral_lens._runtime import resources


def answers():
    """Whether a Slurm with a node that can work is here."""
    if shutil.which("sinfo") is None or shutil.which("sbatch") is None:
        return False
    done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False, timeout=20)
    return done.returncode == 0 and any(state in done.stdout for state in ("idle", "mixed"))


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not answers(), reason="no Slurm answers here"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def root(tmp_path):
    """The toy book, and the Slurm profile that asks more often how the jobs are."""
    write(tmp_path, {"one": page("One", CELL, parameters=PARAMETERS)})
    pytest.importorskip("snakemake_executor_plugin_slurm")
    settings = yaml.safe_load((resources.root() / "engine/slurm/config.yaml").read_text())
    settings |= {"slurm-init-seconds-before-status-checks": 2, "latency-wait": 5}
    (tmp_path / "often").mkdir()
    (tmp_path / "often/config.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def slurm(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def queued(state="R"):
    return slurm("squeue", "-h", "-t", state, "-o", "%A").split()


def resume(node):
    """Bring the node back, unless it came back by itself, as some are set to do (ReturnToService)."""
    command = ["scontrol", "update", f"nodename={node}", "state=resume"]
    until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0 or answers(), 30)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(tmp_path):
    """No job, no node that is down, and none of the Snakemakes inside jobs, which a small Slurm may lose sight of."""
    yield
    for job in queued("R,PD"):
        slurm("scancel", job)
    resume(slurm("sinfo", "-h", "-o", "%n").strip())
    for each in psutil.process_iter(["cmdline"]):
        if any(str(tmp_path) in word for word in each.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def test_kernels_and_jobs_that_are_killed_are_made_again(root):
    """One kernel is killed, one point fails by itself, one job is cancelled by hand."""
    grid = ["--grid", "number=0:3", "--grid", "waits=0", "--grid", "killed=1", "--grid", "fails=2"]
    with started(root, "sweep", "one", *grid, "--name", "s", "--engine", str(root / "often")) as process:
        until(lambda: count(root, "started") == {0: 1, 1: 2, 2: 1} and len(queued("R,CG")) == 1, 100)
        slurm("scancel", *queued())
        until(lambda: count(root, "started")[0] == 2, 100)
        (root / "book/go").touch()
        told, errors = process.communicate(timeout=100)
    assert process.returncode == 1, told + errors
    assert there(root, "s") == [True, True, False]
    assert count(root, "started") == {0: 2, 1: 2, 2: 1}
    assert count(root, "ended") == {0: 1, 1: 1, 2: 0}
    assert errors.endswith("1 of 3 failed: number=2. The same call tries them again.\n")


def test_a_controller_that_is_killed_and_a_node_that_goes_down(root):
    """The controller's successor waits for the job that goes on; then the node goes down under both."""
    sweep = ["sweep", "one", "--grid", "number=0:2", "--grid", "waits=1", "--name", "s", "--engine", f"{root}/often"]
    node = slurm("sinfo", "-h", "-o", "%n").strip()
    with started(root, *sweep) as first:
        until(lambda: count(root, "started")[1] == 1 and there(root, "s") == [True, False], 100)
        first.kill()
        first.wait()
    with started(root, *sweep) as second:
        until(lambda: len(queued()) == 2, 60)
        slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        until(lambda: not queued(), 60)
        resume(node)
        until(lambda: count(root, "started")[1] == 2, 150)
        time.sleep(3)  # a kernel whose job was killed looks each second whether it is alone
        (root / "book/go").touch()
        told, errors = second.communicate(timeout=150)
    assert second.returncode == 0, told + errors
    assert "1 of 2 there already." in told
    assert there(root, "s") == [True, True]
    assert count(root, "started")[0] == count(root, "ended")[0] == count(root, "ended")[1] == 1


def test_an_interruption_cancels_the_jobs(root):
    sweep = ["sweep", "one", "--grid", "number=0:1", "--grid", "waits=0", "--name", "s", "--engine", f"{root}/often"]
    with started(root, *sweep) as process:
        until(lambda: count(root, "started")[0] == 1, 100)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (143, "Interrupted. Nothing half-written; the same call goes on.")
    until(lambda: not queued("R,PD,CG"), 90)  # completing too: long where a job hangs that was killed
    (root / "book/go").touch()
    assert call(root, *sweep).exit_code == 0
    assert count(root, "ended")[0] == 1
