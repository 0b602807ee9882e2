"""Runs of several processes, and of processes that are killed."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from engine_parts import CLASSES, Net, small
from engine_process import LONG

from ninefold.core.results import read_lines
from ninefold.data.loader import evaluation_batches
from ninefold.data.open import open_data
from ninefold.engine import checkpoint
from ninefold.engine.evaluate import evaluate
from ninefold.engine.train import train
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task

SCRIPT = Path(__file__).with_name("engine_process.py")


def started(mode: str, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(SCRIPT.parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), mode, str(folder)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
    )


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_two_ranks_agree_count_each_image_once_and_hand_over_to_one_process(
    tmp_path: Path,
) -> None:
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(free_port())}  # fmt: skip
    ranks = [started(r, tmp_path, RANK=r, LOCAL_RANK=r, **common) for r in ("0", "1")]
    for process in ranks:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()[-2000:]

    # Ranks with other seeds were told so, each of them.
    for number in (0, 1):
        said = (tmp_path / f"rank_{number}.txt").read_text()
        assert f"rank {number}: ranks [1] were started with another configuration" in said

    # Seeds are summed up once, from what the first rank wrote.
    told = [json.loads((tmp_path / f"summary_{number}.json").read_text()) for number in (0, 1)]
    assert told[0] == told[1] == json.loads((tmp_path / "seeds" / "summary.json").read_text())
    assert told[0]["test"]["top1"]["values"].keys() == {"0", "1"}

    # The seven images of the validation part, by two ranks, give what one process gives.
    found = [x for x in read_lines(tmp_path / "run" / "results.jsonl") if x["split"] == "val"]
    assert [line["step"] for line in found] == [2, 4]
    path = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert path is not None
    model = Net()
    weights = checkpoint.load(path)["objective"]
    model.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
    preprocess = small().preprocess
    batches = evaluation_batches(
        open_data("engine_parts:seven").splits["val"],
        preprocess=preprocess,
        batch_size=7,
        workers=0,
    )
    result = evaluate(
        model, make_task("classification", CLASSES, Loss()), batches,
        preprocess=preprocess, device=torch.device("cpu"), split="val",
    )  # fmt: skip
    assert found[-1]["images"] == result.conditions["images"] == 7
    assert found[-1]["top1"] == result.top1
    assert found[-1]["loss"] == pytest.approx(result.loss, rel=1e-6)

    # A checkpoint of two ranks goes on in one process.
    assert path.name == "step_4"
    run = small(data="engine_parts:seven", evaluate_every=2)
    train(run, out=tmp_path / "run", resume=True)
    assert checkpoint.newest(tmp_path / "run" / "checkpoints") == path.with_name("step_9")


@pytest.mark.slow
def test_killed_at_twenty_random_moments_a_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    straight = started("long", tmp_path / "straight")
    folder, draws = tmp_path / "killed", random.Random(0)
    for _ in range(20):
        process = started("long", folder)
        before = saved_in(folder)
        while saved_in(folder) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draws.uniform(0, 0.5))
        assert process.poll() is None, process.communicate()[1].decode()[-2000:]
        process.kill()
        process.communicate()
    for process in (straight, started("long", folder)):
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()[-2000:]
    ends = [
        checkpoint.load(path / "checkpoints" / f"step_{LONG}")
        for path in (tmp_path / "straight", folder)
    ]
    for end in ends:
        del end["record"]  # plain words
    torch.testing.assert_close(*ends, rtol=0, atol=0)
    assert read_lines(tmp_path / "straight" / "results.jsonl") == read_lines(
        folder / "results.jsonl"
    )


def saved_in(folder: Path) -> set[str]:
    """What a run has written so far, by name."""
    return {path.name for path in (folder / "checkpoints").glob("*")}
