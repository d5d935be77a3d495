from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.stability import limit
from gyrostat.wire.values import is_absent


def full_hessian(model: nn.Module, loss_of: Callable[[], Tensor]) -> np.ndarray:
    """By torch.func and autograd's own dense Hessian, in float64."""
    model.double()
    parameters = {n: p.detach() for n, p in model.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]

    def flat_loss(vector: Tensor) -> Tensor:
        parts = torch.split(vector, sizes)
        named = {n: part.view(p.shape) for (n, p), part in zip(parameters.items(), parts, strict=True)}
        return torch.func.functional_call(model, named, (INPUTS.double(),)).sub(TARGETS.double()).square().mean()

    flat = torch.cat([p.reshape(-1) for p in parameters.values()])
    hessian = torch.autograd.functional.hessian(flat_loss, flat).numpy()
    model.float()
    return hessian  # type: ignore[no-any-return]


INPUTS = torch.randn(30, 4, generator=torch.Generator().manual_seed(3))
TARGETS = torch.randn(30, 3, generator=torch.Generator().manual_seed(4))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 3))


def loss_on(model: nn.Module) -> Callable[[], Tensor]:
    return lambda: (model(INPUTS) - TARGETS).square().mean()


def test_sharpness_is_the_largest_eigenvalue_of_the_full_hessian_all_through_a_training(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    loss_of = loss_on(model)
    with ProbeSession(
        model, optimizer, only("curvature"), sink=sink, scalars=["loss.train"], probe_loss=loss_of
    ) as session:
        for step in range(1, 13):
            run_step(session, step, model, optimizer, loss_of)
            frame = sink.frames[step]
            true = np.linalg.eigvalsh(full_hessian(model, loss_of))[-1]
            assert frame["curvature.sharpness"][0] == pytest.approx(true, rel=0.01)
            bound = (2 + 2 * 0.9) / 0.2
            assert frame["curvature.limit"][0] == pytest.approx(bound)
            assert frame["curvature.sharpness_over_limit"][0] == pytest.approx(true / bound, rel=0.01)
            assert "curvature.preconditioned_sharpness" not in frame
    assert not sink.events


def test_for_adamw_the_preconditioned_sharpness_is_that_of_the_full_matrix_too(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, betas=(0.9, 0.99), eps=1e-4)
    loss_of = loss_on(model)
    with ProbeSession(
        model,
        optimizer,
        only("curvature", max_products=100),
        sink=sink,
        scalars=["loss.train"],
        probe_loss=loss_of,
    ) as session:
        for step in range(1, 8):
            run_step(session, step, model, optimizer, loss_of)
            hessian, frame = full_hessian(model, loss_of), sink.frames[step]
            second = torch.cat([optimizer.state[p]["exp_avg_sq"].reshape(-1) for p in model.parameters()]).double()
            root = np.sqrt(second.numpy() / (1 - 0.99**step)) + 1e-4
            scale = 1 / np.sqrt(root * (1 - 0.9**step))
            true = np.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1]
            assert frame["curvature.sharpness"][0] == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=0.01)
            assert frame["curvature.preconditioned_sharpness"][0] == pytest.approx(true, rel=0.01)
            bound = limit(optimizer)
            assert bound is not None
            assert frame["curvature.sharpness_over_limit"][0] == pytest.approx(true / bound, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_for_linear_regression_it_is_twice_the_largest_eigenvalue_of_the_gram_matrix(
    sink: Any, only: Any, dtype: torch.dtype
) -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)).to(dtype) * torch.arange(1, 9)
    y = torch.ones(50, 1, dtype=dtype)
    model = nn.Linear(8, 1, bias=False, dtype=dtype)
    with ProbeSession(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        only("curvature"),
        sink=sink,
        scalars=[],
        probe_loss=lambda: (model(x) - y).square().mean(),
    ) as session:
        session.begin_step(1)
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)
    gram = x.double().numpy().T @ x.double().numpy() / 50
    assert sink.frames[1]["curvature.sharpness"][0] == pytest.approx(2 * np.linalg.eigvalsh(gram)[-1], rel=0.01)
    # a rate of 0, as at the start of a warm-up, has no limit
    assert not {"curvature.limit", "curvature.sharpness_over_limit"} & set(sink.frames[1])


class Saddle(nn.Module):
    """Curvatures -9, -2, 1.5 and 0.5: the largest magnitude is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self) -> Tensor:
        return (torch.tensor([-9.0, -2.0, 1.5, 0.5]) * self.weight**2).sum() / 2


def one_measurement(sink: Any, settings: Any, model: nn.Module, loss_of: Callable[[], Tensor], **changes: Any) -> None:
    optimizer = changes.get("optimizer") or torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=[], probe_loss=loss_of) as session:
        session.begin_step(1)
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)


def test_a_dominant_negative_eigenvalue_is_not_taken_for_the_sharpness(sink: Any, only: Any) -> None:
    model = Saddle()
    one_measurement(sink, only("curvature"), model, model)
    assert sink.frames[1]["curvature.sharpness"][0] == pytest.approx(1.5, rel=0.01)


def test_the_eigenvalue_alone_takes_no_product_for_gradient_or_trace(sink: Any, only: Any) -> None:
    model = network()
    one_measurement(sink, only("curvature", along_gradient=False, trace_samples=0), model, loss_on(model))
    true = np.linalg.eigvalsh(full_hessian(model, loss_on(model)))[-1]
    assert sink.frames[1]["curvature.sharpness"][0] == pytest.approx(true, rel=0.01)
    assert not {"curvature.along_gradient", "curvature.trace", "curvature.block_trace"} & set(sink.frames[1])


def test_frozen_parameters_are_left_out(sink: Any, only: Any) -> None:
    model = network()
    model[0].requires_grad_(False)
    one_measurement(sink, only("curvature"), model, loss_on(model))
    true = np.linalg.eigvalsh(full_hessian(model, loss_on(model))[30:, 30:])[-1]
    assert sink.frames[1]["curvature.sharpness"][0] == pytest.approx(true, rel=0.01)


def test_a_loss_that_is_nan_gives_nan_and_the_next_measurement_is_right_again(sink: Any, only: Any) -> None:
    model = Saddle()
    factors = iter([1.0, torch.nan, 1.0])
    with ProbeSession(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        only("curvature"),
        sink=sink,
        scalars=[],
        probe_loss=lambda: next(factors) * model(),
    ) as session:
        for step in (1, 2, 3):
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
    assert np.isnan(sink.frames[2]["curvature.sharpness"]).all()
    assert np.isnan(sink.frames[2]["curvature.sharpness_over_limit"]).all()
    assert sink.frames[3]["curvature.sharpness"][0] == pytest.approx(1.5, rel=0.01)


class Attention(nn.Module):
    """Fused attention kernels have no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def test_attention_has_a_sharpness(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = Attention()
    one_measurement(sink, only("curvature"), model, lambda: model(torch.ones(2, 5, 8)).square().mean())
    assert not sink.events
    assert sink.frames[1]["curvature.sharpness"][0] > 0


def test_without_a_probe_loss_nothing_is_measured(sink: Any, only: Any) -> None:
    model = network()
    with ProbeSession(model, torch.optim.SGD(model.parameters()), only("curvature"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        session.after_update()
        session.end_step({}, epoch=0)
    assert not sink.frames
    assert not sink.events


@pytest.mark.parametrize("changes", [{}, {"trace_samples": 0, "along_gradient": False}], ids=["default", "alone"])
def test_a_second_eigenvalue_that_overtakes_is_seen_within_five_measurements(
    sink: Any, only: Any, changes: dict[str, Any]
) -> None:
    scale = torch.linspace(0, 0.5, 50)
    scale[0], scale[1] = 1.0, 0.9
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(50))
    with ProbeSession(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        only("curvature", **changes),
        sink=sink,
        scalars=[],
        probe_loss=lambda: (scale * model.weight**2).sum() / 2,
    ) as session:
        for step in range(1, 9):
            if step == 3:
                scale[1] = 1.3
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
    assert sink.frames[2]["curvature.sharpness"][0] == pytest.approx(1.0, rel=0.01)
    assert sink.frames[7]["curvature.sharpness"][0] == pytest.approx(1.3, rel=0.01)


def test_eigenvalues_trace_blocks_and_curvature_along_the_gradient_are_those_of_the_full_hessian(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model, within = network(), []
    model[2].bias.requires_grad_(False)
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.2, momentum=0.9)
    loss_of = loss_on(model)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    trained = np.concatenate([np.full(p.numel(), p.requires_grad) for p in model.parameters()])
    with ProbeSession(
        model,
        optimizer,
        only("curvature", eigenvalues=4, max_products=40),
        sink=sink,
        scalars=["loss.train"],
        probe_loss=loss_of,
    ) as session:
        for step in range(1, 9):
            run_step(session, step, model, optimizer, loss_of)
            frame = sink.frames[step]
            dense = full_hessian(model, loss_of)[trained][:, trained]
            values = np.linalg.eigvalsh(dense)[::-1]
            assert frame["curvature.sharpness"][0] == pytest.approx(values[0], rel=0.01)
            assert frame["curvature.eigenvalue"] == pytest.approx(values[:4], rel=0.02)
            assert frame["curvature.eigenvalue"][0] == frame["curvature.sharpness"][0]
            stated = frame["curvature.eigenvalue_error"]
            assert ((stated >= 0) & (stated <= 0.04)).all()
            # an eigenvalue for certain within the residual, of each, and none above its own
            for found, error in zip(frame["curvature.eigenvalue"], stated, strict=True):
                assert np.abs(values - found).min() <= error * found + 1e-5
            assert (frame["curvature.eigenvalue"] <= values[:4] * (1 + 1e-5)).all()
            g = torch.cat([x.reshape(-1) for x in torch.autograd.grad(loss_of(), optimizer.param_groups[0]["params"])])
            g = g.double().numpy()
            assert frame["curvature.along_gradient"][0] == pytest.approx(g @ dense @ g / (g @ g), rel=1e-3, abs=1e-5)
            blocks, errors = sink.at(step, "curvature.block_trace"), sink.at(step, "curvature.block_trace_error")
            assert np.isnan([blocks["2.bias"], errors["2.bias"]]).all()
            assert sum(blocks[n] for n in names) == pytest.approx(frame["curvature.trace"][0], rel=1e-4, abs=1e-5)
            start = 0
            for name in names:
                stop = start + dict(model.named_parameters())[name].numel()
                within.append(abs(blocks[name] - np.trace(dense[start:stop, start:stop])) <= 2 * errors[name] + 1e-5)
                start = stop
            within.append(abs(frame["curvature.trace"][0] - np.trace(dense)) <= 2 * frame["curvature.trace_error"][0])
    assert np.mean(within) >= 0.9
    assert not sink.events


def test_the_trace_of_many_measurements_at_one_point_is_unbiased_and_has_the_stated_error(sink: Any, only: Any) -> None:
    model = network()
    loss_of = loss_on(model)
    settings = only("curvature", trace_samples=2)
    with ProbeSession(
        model, torch.optim.SGD(model.parameters(), lr=0.1), settings, sink=sink, scalars=[], probe_loss=loss_of
    ) as session:
        for step in range(1, 61):
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
    found, stated = (
        np.array([sink.frames[step][f"curvature.{name}"][0] for step in sink.frames])
        for name in ("trace", "trace_error")
    )
    true = np.trace(full_hessian(model, loss_of))
    assert len(set(found)) == 60
    assert abs(found.mean() - true) < 3.5 * found.std() / np.sqrt(60)
    assert np.mean(np.abs(found - true) < 1.96 * stated) >= 0.95 - 2.33 * np.sqrt(0.95 * 0.05 / 60)
    # of former measurements too: as sure as normal numbers once there are some
    assert np.median(stated[10:]) < 1.3 * found.std()


class Diagonal(nn.Module):
    """A quadratic with these eigenvalues."""

    def __init__(self, curvatures: list[float]) -> None:
        super().__init__()
        self.curvatures = torch.tensor(curvatures)
        self.weight = nn.Parameter(torch.ones(len(curvatures)))

    def forward(self) -> Tensor:
        return (self.curvatures * self.weight**2).sum() / 2


def test_eigenvalues_have_names_of_their_own_and_repeated_ones_are_told_as_often_as_they_are_there(
    sink: Any, only: Any
) -> None:
    model = Diagonal([5.0, 5.0, 5.0, 2.0, -8.0, *np.linspace(-0.5, 0.5, 40)])
    one_measurement(sink, only("curvature", eigenvalues=5, max_products=60), model, model)
    (layout,) = sink.layouts
    assert layout.axes["eigenvalue"] == [f"eigenvalue {number}" for number in (1, 2, 3, 4, 5)]
    found = sink.frames[1]["curvature.eigenvalue"]
    assert found[0] == pytest.approx(5.0, rel=0.01)
    assert found[3:] == pytest.approx([2.0, 0.5], rel=0.01)


def test_of_fewer_parameters_than_eigenvalues_those_beyond_are_absent(sink: Any, only: Any) -> None:
    model = Saddle()
    one_measurement(sink, only("curvature", eigenvalues=6), model, model)
    found, errors = sink.frames[1]["curvature.eigenvalue"], sink.frames[1]["curvature.eigenvalue_error"]
    assert found[:4] == pytest.approx([1.5, 0.5, -2.0, -9.0], rel=0.01)
    assert is_absent(found).tolist() == is_absent(errors).tolist() == [False] * 4 + [True] * 2


def products_of(sink: Any, settings: Any, model: Diagonal, measurements: int) -> list[int]:
    """How many each measurement took."""
    passes: list[Tensor] = []
    handle = model.weight.register_hook(passes.append)  # one of the gradient, and one of each product
    spent = []
    with ProbeSession(
        model, torch.optim.SGD(model.parameters(), lr=0.1), settings, sink=sink, scalars=[], probe_loss=model
    ) as session:
        for step in range(1, measurements + 1):
            passes.clear()
            session.begin_step(step)
            session.after_update()
            session.end_step({}, epoch=0)
            spent.append(len(passes) - 1)
    handle.remove()
    return spent


def test_where_nothing_has_changed_a_measurement_takes_one_product_and_every_third_looks_further(
    sink: Any, only: Any
) -> None:
    model = Diagonal([9.0, 7.0, 4.0, 3.0, *np.linspace(-1, 1, 200)])
    first, *others = products_of(sink, only("curvature", trace_samples=0, along_gradient=False), model, 7)
    assert first > 2
    assert others == [1, 1, 2, 1, 1, 2]
    for frame in sink.frames.values():
        assert frame["curvature.sharpness"][0] == pytest.approx(9.0, rel=0.01)


def test_a_measurement_takes_no_more_products_than_it_may_however_many_eigenvalues_it_goes_on_from(
    sink: Any, only: Any
) -> None:
    model = Diagonal([9.0, 7.0, 4.0, 3.0, *np.linspace(-1, 1, 200)])
    spent = products_of(sink, only("curvature", eigenvalues=6, max_products=3), model, 5)
    assert max(spent) <= 3 + 2, "and one for the trace, one along what it showed"


def test_the_largest_eigenvalues_go_on_from_the_last_ones(sink: Any, only: Any) -> None:
    model = Diagonal([9.0, 7.0, 4.0, 3.0, *np.linspace(-1, 1, 200)])
    settings = only("curvature", eigenvalues=4, max_products=60, trace_samples=0, along_gradient=False)
    first, *others = products_of(sink, settings, model, 3)
    assert first > 6 >= max(others)
    for frame in sink.frames.values():
        assert frame["curvature.eigenvalue"] == pytest.approx([9.0, 7.0, 4.0, 3.0], rel=0.01)


class Tied(nn.Module):
    """A weight that is used twice, one that is never used, and batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.unused = nn.Parameter(torch.ones(3))
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.second(torch.tanh(self.first(x)))))  # type: ignore[no-any-return]


def test_tied_and_unused_parameters_batch_norm_and_adam_are_as_in_the_full_matrices(sink: Any, only: Any) -> None:
    torch.manual_seed(1)
    model = Tied()
    loss_of = loss_on(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, eps=1e-3)
    with ProbeSession(
        model, optimizer, only("curvature", max_products=80), sink=sink, scalars=[], probe_loss=loss_of
    ) as session:
        for step in range(1, 4):
            session.begin_step(step)
            optimizer.zero_grad()
            loss_of().backward()
            session.after_backward()
            optimizer.step()
            session.after_update()
            session.end_step({}, epoch=0)
    dense = full_hessian(model, loss_of)
    assert sink.frames[3]["curvature.sharpness"][0] == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=0.01)
    used = np.concatenate([np.full(p.numel(), name != "unused") for name, p in model.named_parameters()])
    second = torch.cat(
        [optimizer.state[p]["exp_avg_sq"].reshape(-1) for p in model.parameters() if p in optimizer.state]
    )
    scale = 1 / np.sqrt((np.sqrt(second.double().numpy() / (1 - 0.999**3)) + 1e-3) * (1 - 0.9**3))
    true = np.linalg.eigvalsh(scale[:, None] * dense[used][:, used] * scale)[-1]
    assert sink.frames[3]["curvature.preconditioned_sharpness"][0] == pytest.approx(true, rel=0.01)
    blocks = sink.at(3, "curvature.block_trace")
    assert abs(blocks["unused"]) <= 2 * sink.at(3, "curvature.block_trace_error")["unused"]
    assert "second.weight" not in blocks
    assert not sink.events


def test_without_a_gradient_there_is_no_curvature_along_it_and_the_rest_is_measured(sink: Any, only: Any) -> None:
    model = Saddle()
    with torch.no_grad():
        model.weight.zero_()
    one_measurement(sink, only("curvature", trace_samples=0), model, model)
    assert sink.frames[1]["curvature.sharpness"][0] == pytest.approx(1.5, rel=0.01)
    assert not {"curvature.along_gradient", "curvature.trace", "curvature.block_trace"} & set(sink.frames[1])


def test_a_measurement_goes_on_from_its_state_as_if_it_had_not_been_stopped(only: Any) -> None:
    class Kept(dict[int, dict[str, np.ndarray]]):
        """Frames by step, of one session."""

        def layout(self, layout: Any) -> None: ...

        def event(self, *event: Any) -> None:
            raise AssertionError(event)

        def emit(self, frame: Any) -> None:
            vector = frame.fetch()
            self[frame.step] = {name: vector[slice(*place)] for name, place in frame.slices.items()}

    def session_of(kept: Kept) -> ProbeSession:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return ProbeSession(model, optimizer, only("curvature"), sink=kept, scalars=[], probe_loss=loss_on(model))

    def measure(session: ProbeSession, step: int) -> None:
        session.begin_step(step)
        session.after_update()
        session.end_step({}, epoch=0)

    through, before, after = Kept(), Kept(), Kept()
    whole, first, second = (session_of(kept) for kept in (through, before, after))
    for step in range(1, 7):
        measure(whole, step)
    for step in (1, 2):
        measure(first, step)
    second.load_state_dict(first.state_dict())
    for step in range(3, 7):
        measure(second, step)
        assert {name: values.tolist() for name, values in after[step].items()} == {
            name: values.tolist() for name, values in through[step].items()
        }
