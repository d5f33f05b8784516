"""Two real processes share one folder of pictures."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mentor.evaluation.processes import ALONE, joined

SCRIPT = """
import sys
from pathlib import Path
from PIL import Image
from mentor.evaluation.pictures import PictureStore, check_folder
from mentor.evaluation.processes import joined
from mentor.prompt import Prompt

class Painter:
    name, size, fingerprint = "fake", 8, "one"
    def __call__(self, prompts, seeds):
        for prompt in prompts:
            print(prompt.text, flush=True)
            if prompt.text == "refused":
                raise ValueError("too long")
        return [Image.new("RGB", (8, 8), (seed,) * 3) for seed in seeds]

with joined() as processes:
    folder = Path(sys.argv[1])
    check_folder(folder)
    words = ["a", "b", "c", "refused", "e"]
    store = PictureStore(folder, 1, processes)
    paths, failures = store.files(Painter(), [Prompt(word) for word in words], range(5))
    there = [path.is_file() for path in paths]
    print("main" if processes.main else "other", there, failures, flush=True)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.integration
def test_two_processes_make_each_picture_once_and_wait_for_each_other(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    shared = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, str(script), str(tmp_path / "out")]
    started = [
        subprocess.Popen(words, env=shared | {"RANK": rank, "LOCAL_RANK": rank}, stdout=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    told = [process.communicate(timeout=120)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert told[0][:-1] == ["a", "c", "e"] and told[1][:-1] == ["b", "refused"]
    known = "[True, True, True, False, True] {3: 'too long'}"
    assert (told[0][-1], told[1][-1]) == (f"main {known}", f"other {known}")


def test_without_a_launcher_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined() as processes:
        assert processes == ALONE and processes.main
        assert processes.gather(3) == [3]


@pytest.mark.parametrize(("rank", "count"), [("2", "2"), ("x", "1"), ("-1", "2"), ("0", "0")])
def test_variables_that_cannot_be(rank: str, count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(ValueError, match=f"got RANK={rank}, WORLD_SIZE={count}"), joined():
        pass
