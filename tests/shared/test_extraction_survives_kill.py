"""``ovs3d features`` killed with SIGKILL while it computes, writes and renames, and started again."""

import os
import subprocess
import sys

import torch
from PIL import Image
from tiny_models import TINY_VIT, random_clip

IMAGES = 8
# The command itself with a small architecture, in children that share one start of Python. Wherever a life may end,
# it does so with a seeded probability: no clock, so the moments are the same on every machine.
SCRIPT = f"""
import os, random, signal
from ovs3d.cli import main
from ovs3d.foundation import clip, tiles

clip.clip_architectures = lambda: {{"tiny-vit": {TINY_VIT!r}}}

def deadly(function, log=None):
    def maybe_die(*args, **kwargs):
        for moment in ("before", "after"):
            if random.random() < 0.15:
                os.kill(os.getpid(), signal.SIGKILL)
            if moment == "before":
                result = function(*args, **kwargs)
                if log:
                    with open(log, "a") as file:
                        file.write("x")
        return result
    return maybe_die

def extract(folder, life=None):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if life is not None:
        random.seed(life)
        os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)
        tiles.crop_and_resize = deadly(tiles.crop_and_resize, log="computed")
    main(["features", "--data", "scene", "--weights", "tiny-vit/./clip.pt", "--device", "cpu",
          "--tile-scales", "2", "3", "--feature-dir", folder])
    os._exit(0)

assert extract("whole") == 0
deaths = 0
while deaths < 60 and (code := extract("killed", life=deaths)) == -signal.SIGKILL:
    deaths += 1
assert code == 0, code
print(f"\\ndeaths {{deaths}}")
"""


def test_killed_at_least_ten_times_it_redoes_one_image_each_and_ends_with_the_same_files(tmp_path):
    (tmp_path / "scene").mkdir()
    for index in range(IMAGES):
        pixels = torch.randint(0, 256, (48, 64, 3), generator=torch.Generator().manual_seed(index)).byte()
        Image.fromarray(pixels.numpy()).save(tmp_path / "scene" / f"{index}.png")
    torch.save(random_clip(TINY_VIT).state_dict(), tmp_path / "clip.pt")
    command, environment = [sys.executable, "-c", SCRIPT], os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    deaths = int(done.stdout.split()[-1])
    assert deaths >= 10
    assert IMAGES <= (tmp_path / "computed").stat().st_size <= IMAGES + deaths
    whole, killed = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "killed")
    )
    assert len(whole) == IMAGES
    assert killed == whole
