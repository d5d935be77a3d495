"""Lightning's Trainer, for real: what the callback measures is what Lightning itself has in hand at that moment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import gyrostat
from gyrostat.integrations.lightning import GyrostatCallback
from tests.gyrostat.watching.conftest import EVERY
from tests.gyrostat.watching.folders import Left, left_in

SAMPLES = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))


class Module(pl.LightningModule):
    """Fits a linear target, two micro-batches a step; `fails_at` is the batch at which its data ends."""

    def __init__(self, fails_at: int = -1, optimizers: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(1)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
        self.norms: list[float] = []
        self.losses: list[float] = []
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        if index == self.hparams["fails_at"]:
            raise RuntimeError("out of data")
        loss = nn.functional.mse_loss(self.network(batch[0]), batch[0].sum(1, keepdim=True))
        self.losses.append(loss.item())
        self.log("train_loss", loss)
        self.log("seen/Batches", float(len(self.losses)))
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.norms.append(float(torch.stack([p.grad.norm() for p in self.parameters() if p.grad is not None]).norm()))

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.log("val_loss", torch.tensor(float(self.global_step)))

    def configure_optimizers(self) -> Any:
        made = [torch.optim.SGD(self.parameters(), lr=0.05) for _ in range(self.hparams["optimizers"])]
        return made[0] if len(made) == 1 else made


Fit = Callable[..., None]


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    def fit(module: Module, *callbacks: Any) -> None:
        pl.seed_everything(0, verbose=False)
        trainer = pl.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=list(callbacks), default_root_dir=tmp_path,
            **({"accumulate_grad_batches": 2, "gradient_clip_val": 0.1} if module.automatic_optimization else {}),
        )  # fmt: skip
        data = TensorDataset(SAMPLES)
        trainer.fit(module, DataLoader(data, batch_size=6), DataLoader(data, batch_size=48))

    return fit


@pytest.fixture
def callback(tmp_path: Path) -> GyrostatCallback:
    return GyrostatCallback(server="", folder=tmp_path / "runs", probes=EVERY)


def test_the_loss_scale_and_the_steps_that_it_cost_are_told(tmp_path: Path, callback: GyrostatCallback) -> None:
    class Overflowing(Module):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return super().training_step(batch, index) * (torch.inf if index == 3 else 1.0)

    precision = pl.plugins.precision.MixedPrecision(
        "16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=1000)
    )
    module = Overflowing()
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", plugins=[precision], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback], default_root_dir=tmp_path,
    )  # fmt: skip
    data = TensorDataset(SAMPLES)
    trainer.fit(module, DataLoader(data, batch_size=6), DataLoader(data, batch_size=48))
    left = left_by(callback)
    assert left.scalars("precision.overflow") == {step: float(step == 4) for step in range(1, 9)}
    assert left.scalars("precision.loss_scale") == {step: 64.0 if step <= 4 else 32.0 for step in range(1, 9)}
    norms = left.scalars("gradient.global_norm")
    assert [norms[step] for step in (1, 2, 3)] == pytest.approx(module.norms[:3], rel=1e-5)


def left_by(callback: GyrostatCallback) -> Left:
    return left_in(callback.watch.folder)


def test_what_is_measured_is_what_lightning_has_in_hand(fit: Fit, callback: GyrostatCallback) -> None:
    bare, module = Module(), Module()
    fit(bare)
    fit(module, callback)
    assert module.losses == bare.losses
    left = left_by(callback)
    assert list(left.frames) == list(range(1, 9))
    assert left.scalars("gradient.global_norm") == pytest.approx(dict(enumerate(module.norms, start=1)), rel=1e-5)
    pairs = zip(module.losses[::2], module.losses[1::2], strict=True)
    means = {step: (first + second) / 2 for step, (first, second) in enumerate(pairs, start=1)}
    assert left.scalars("loss.train") == pytest.approx(means, rel=1e-5)
    assert left.scalars("seen.batches") == {step: 2.0 * step for step in range(1, 9)}
    assert {step: left.scalars("loss.validation").get(step) for step in (4, 8)} == {4: 4.0, 8: 8.0}
    assert left.epochs[8] == 2.0
    assert left.layouts[-1].axes["module"] == ["network.0", "network.1", "network.2", "network.3"]
    assert left.events[-1] == ("finished", 8, {})
    assert left.events[0][2]["config"] == {"fails_at": -1, "optimizers": 1}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_a_fit_that_fails_is_a_run_that_failed(fit: Fit, callback: GyrostatCallback) -> None:
    with pytest.raises(RuntimeError, match="out of data"):
        fit(Module(fails_at=4), callback)
    kind, step, data = left_by(callback).events[-1]
    assert (kind, data["error"]) == ("failed", "RuntimeError: out of data")
    assert step == 3


def test_several_optimizers_are_refused(fit: Fit, callback: GyrostatCallback) -> None:
    with pytest.raises(ValueError, match=r"Module has 2 optimizers.* on_fit_start"):
        fit(Module(optimizers=2), callback)


class Pair(Module):
    """Two networks that are trained in turn, each watched by itself as the refusal says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(optimizers=2)
        self.other = nn.Linear(4, 1)
        self.folder, self.found = folder, {"network": list[float](), "other": list[float]()}

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(each.parameters(), lr=0.05) for each in (self.network, self.other)]

    def on_fit_start(self) -> None:
        self.watches = [
            gyrostat.attach(each, optimizer, server="", folder=self.folder / name, probes=EVERY)
            for (name, each), optimizer in zip(self._parts(), self.trainer.optimizers, strict=True)
        ]

    def training_step(self, batch: list[Tensor], index: int) -> None:
        for (name, each), optimizer in zip(self._parts(), self.optimizers(), strict=True):
            optimizer.zero_grad()
            self.manual_backward(nn.functional.mse_loss(each(batch[0]), batch[0].sum(1, keepdim=True)))
            self.found[name].append(float(torch.stack([p.grad.norm() for p in each.parameters()]).norm()))
            optimizer.step()

    def on_fit_end(self) -> None:
        for watch in self.watches:
            watch.finish()

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        pass

    def _parts(self) -> list[tuple[str, nn.Module]]:
        return [("network", self.network), ("other", self.other)]


def test_several_optimizers_are_watched_each_with_its_network(fit: Fit, tmp_path: Path) -> None:
    module = Pair(tmp_path)
    fit(module)
    for watch, wanted in zip(module.watches, module.found.values(), strict=True):
        left = left_in(watch.folder)
        assert left.scalars("gradient.global_norm") == pytest.approx(dict(enumerate(wanted, start=1)), rel=1e-5)
        assert len(left.logged()) == 1
