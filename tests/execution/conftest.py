"""A plug-in file with variants that train, raise, diverge, or kill their own worker process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import registry
from bench.datasets import Dataset
from bench.execution.cohorts import DataSource
from bench.execution.worker import Job
from bench.grid import Options, Run, plan

PLUGIN = '''
import inspect, os, pathlib, signal
import torch
import torch.nn.functional as F
from bench.variant import Draw, Ema, Phase, Player, Recipe, Variant
from variants.parts.layers import Linear, Stack

FOLDER, MAIN = pathlib.Path({folder!r}), {pid}

class Calm(Variant):
    name = "calm"
    recipes = {{"common": {{"grey": Recipe(steps=6, lr=0.05, evaluations=3, test_images=100)}}}}
    def networks(self):
        return {{"classifier": lambda: Stack(torch.nn.Flatten(), Linear(self.task.features, self.task.classes))}}
    def draws(self):
        return {{"labelled": Draw(8, "labelled", "tiled"), "unlabelled": Draw(4, "all")}}
    def phases(self):
        player = Player("classifier", ("classifier",), self.loss, self.recipe.lr, ema=Ema(0.5))
        return (Phase("main", 1.0, (player,)),)
    def loss(self, nets, batch, noise, state, progress):
        self.trouble()
        images, labels = batch["labelled"]
        logits = nets.classifier(images + 0.1 * noise.normal(*images.shape), noise)
        return F.cross_entropy(logits, labels), {{}}
    def trouble(self):
        pass
    def classify(self, nets, images):
        return nets.classifier(images)

class Aware(Calm):
    """Its loss reads the number of labels, which it may not."""
    name = "aware"
    def loss(self, nets, batch, noise, state, progress):
        loss, logs = super().loss(nets, batch, noise, state, progress)
        return loss + self.task.labelled * nets.classifier(batch["unlabelled"], noise).square().mean(), logs

class Clumsy(Calm):
    """Raises until somebody has repaired it."""
    name = "clumsy"
    def trouble(self):
        if not (FOLDER / "repaired").exists():
            raise ValueError("no luck today")

class Mortal(Calm):
    """Dies the first time."""
    name = "mortal"
    def trouble(self):
        if not (FOLDER / "died").exists() and os.getpid() != MAIN:
            (FOLDER / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

class Doomed(Calm):
    """Dies every time; says how often."""
    name = "doomed"
    def trouble(self):
        if os.getpid() != MAIN:
            with open(FOLDER / "deaths", "a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)

class Greedy(Calm):
    """Its worker is killed whenever more than one run trains in it."""
    name = "greedy"
    def state(self):
        frames = [found.frame.f_locals for found in inspect.stack()]
        trainer = next(local["self"] for local in frames if {{"self", "seeds", "splits"}} <= local.keys())
        if os.getpid() != MAIN:
            with open(FOLDER / "sizes", "a") as file:
                file.write(f"{{trainer.runs}} ")
            if trainer.runs > 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return {{}}

class Wild(Calm):
    """Its loss stops being finite."""
    name = "wild"
    def loss(self, nets, batch, noise, state, progress):
        loss, logs = super().loss(nets, batch, noise, state, progress)
        return torch.where(progress > 0.4, float("nan") * loss.detach(), loss), logs
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, loaded; forgotten again after the test."""
    monkeypatch.setattr(registry, "_plugins", {})
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN.format(folder=str(tmp_path), pid=os.getpid()))
    registry.load_file(path)
    return path


@pytest.fixture
def job(tmp_path: Path, plugin: Path) -> Job:
    (tmp_path / "runs").mkdir()
    return Job(tmp_path / "runs", DataSource("digits", tmp_path), "cpu", (plugin,))


@pytest.fixture
def make_runs(digits: Dataset) -> Callable[..., list[Run]]:
    return lambda variants, **options: plan(
        Options(**{"variants": variants, "labels": "20", "seeds": "3"} | options), digits
    )
