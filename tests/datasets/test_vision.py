"""torchvision, imported late."""

import subprocess
import sys


def test_torchvision_imports_late_and_without_warnings():
    code = """if True:
        import sys
        from spectral_lens.datasets import cache, images, synthetic, vision
        assert not {"torchvision", "sklearn", "pooch"} & set(sys.modules)
        assert vision.torchvision() is vision.torchvision()
        import torchvision.transforms.v2
        print(torchvision.datasets.MNIST.__name__)
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "MNIST"), done.stderr
