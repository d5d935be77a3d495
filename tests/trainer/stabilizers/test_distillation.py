import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn

from gyrostat.spec.distillation import MeanTeacher
from trainer.stabilizers import distillation


def scores(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_divergence_is_kl_at_a_temperature_times_its_square(temperature):
    student, teacher = scores(0, 6, 5), scores(1, 6, 5)
    p, q = (softmax(z.numpy() / temperature, 1) for z in (teacher, student))
    expected = temperature**2 * np.mean(entropy(p, q, axis=1))
    assert distillation.divergence(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_divergence_is_a_mean_over_pixels_and_positions():
    student, teacher = scores(0, 2, 3, 4, 5), scores(1, 2, 3, 4, 5)
    flat = [z.movedim(1, -1).reshape(-1, 3) for z in (student, teacher)]
    assert torch.allclose(distillation.divergence(student, teacher, 2.0), distillation.divergence(*flat, 2.0))
    sequences = [z.movedim(1, -1).reshape(2, 20, 3) for z in (student, teacher)]
    assert torch.allclose(distillation.divergence(*sequences, 2.0), distillation.divergence(*flat, 2.0))


def test_its_gradient_is_that_of_finite_differences_once_and_twice():
    teacher = scores(1, 3, 4)
    student = scores(0, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: distillation.divergence(z, teacher, 2.0), student)
    assert torch.autograd.gradgradcheck(lambda z: distillation.divergence(z, teacher, 2.0), student)


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(self.linear(x)))


def test_the_teacher_starts_as_the_student_and_is_the_moving_average_of_its_weights():
    torch.manual_seed(0)
    student = Student()
    teacher = distillation.build(MeanTeacher(decay=0.9), student)
    average = {name: p.detach().clone() for name, p in student.named_parameters()}
    for step in range(1, 30):
        with torch.no_grad():
            for p in student.parameters():
                p.add_(torch.randn_like(p))
        student(torch.randn(8, 3))
        teacher.follow(student, step)
        keep = min(0.9, 1 - 1 / (step + 1))
        average = {n: keep * average[n] + (1 - keep) * p.detach() for n, p in student.named_parameters()}
    for name, p in teacher.network.named_parameters():
        assert torch.allclose(p, average[name], rtol=1e-4, atol=1e-5)
        assert not p.requires_grad
    assert torch.equal(teacher.network.norm.running_mean, student.norm.running_mean)


def test_the_term_is_zero_while_both_agree_and_draws_nothing_and_leaves_the_teacher_as_it_was():
    student = Student().eval()
    teacher = distillation.build(MeanTeacher(), student)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    x, state = torch.randn(8, 3), torch.get_rng_state()
    term = teacher.term(student(x), (x,))
    assert term.item() == pytest.approx(0, abs=1e-6)
    assert term.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_a_fork_takes_over_a_teacher_that_fits_and_else_starts_from_the_student():
    torch.manual_seed(1)
    student, parent = Student(), distillation.build(MeanTeacher(), Student())
    teacher = distillation.build(MeanTeacher(), Student())
    assert teacher.take_over(parent.state_dict(), student) == []
    assert torch.equal(teacher.network.linear.weight, parent.network.linear.weight)
    for misfit in (None, {}, {"linear.weight": torch.zeros(1)}):
        (note,) = teacher.take_over(misfit, student)
        assert "starts as the student" in note
        assert torch.equal(teacher.network.linear.weight, student.linear.weight)


def test_no_distillation_is_no_teacher():
    assert distillation.build(None, Student()) is None
