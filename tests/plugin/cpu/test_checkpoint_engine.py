"""Weights through shared memory: what is sent arrives, whoever is first, and nothing is left behind."""

import asyncio
from pathlib import Path

import pytest
import torch

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3).T, "b.bias": torch.tensor([1, 2], dtype=torch.bfloat16)}


@pytest.mark.parametrize("first", ["trainer", "engine"])
def test_weights_arrive(first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from verl.checkpoint_engine import CheckpointEngineRegistry

    from medeyes_verl.plugin.cpu import checkpoint_engine

    monkeypatch.setattr(checkpoint_engine, "FOLDER", tmp_path)
    make = CheckpointEngineRegistry.new
    trainer, idle = (make("medeyes_shared_memory", bucket_size=1, is_master=master) for master in (True, False))
    engine = make("medeyes_shared_memory", bucket_size=1)
    workers = [trainer, idle, engine]
    trainers, engines = trainer.build_topology(2, 1, [worker.prepare() for worker in workers])
    for worker, file in zip(workers, trainers["file"] + engines["file"], strict=True):
        worker.init_process_group(file=file)

    async def received() -> dict[str, torch.Tensor]:
        return {name: weight async for name, weight in engine.receive_weights()}

    async def update() -> dict[str, torch.Tensor]:
        sends = [worker.send_weights(iter(WEIGHTS.items())) for worker in (trainer, idle)]
        order = [*sends, received()] if first == "trainer" else [received(), *sends]
        done = await asyncio.gather(*order)
        return next(each for each in done if each is not None)

    arrived = asyncio.run(update())
    assert arrived.keys() == WEIGHTS.keys()
    assert all(
        torch.equal(arrived[name], weight) and arrived[name].dtype == weight.dtype for name, weight in WEIGHTS.items()
    )
    for worker in workers:
        worker.finalize()
    assert list(tmp_path.iterdir()) == []
