"""The losses of distillation against plain loops and closed forms, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mobilenets.training.distill_losses import (
    GROUP,
    attention_loss,
    feature_loss,
    hard_loss,
    relational_loss,
    soft_loss,
)

Loss = Callable[[Tensor, Tensor], Tensor]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def huber(x: float) -> float:
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def test_soft_is_the_divergence_of_the_softened_answers() -> None:
    student, teacher = numbers(5, 4), numbers(5, 4, seed=1)
    for temperature in (0.5, 1.0, 4.0):
        total = 0.0
        for own, wanted in zip(student.tolist(), teacher.tolist()):
            q, p = ([math.exp(x / temperature) for x in row] for row in (own, wanted))
            for a, b in zip(q, p):
                p_i, q_i = b / sum(p), a / sum(q)
                total += p_i * math.log(p_i / q_i)
        expected = temperature**2 * total / 5
        assert float(soft_loss(student, teacher, temperature)) == pytest.approx(expected, rel=1e-12)


def test_soft_has_the_gradient_of_hinton_et_al() -> None:
    """dL/dz = T (q - p) / N (eq. 2), which at a large T no longer depends on T: (z - v) / (C N) for centred logits."""
    student, teacher = numbers(5, 4).requires_grad_(), numbers(5, 4, seed=1)
    soft_loss(student, teacher, 3.0).backward()  # type: ignore[no-untyped-call]
    expected = 3 * ((student / 3).softmax(1) - (teacher / 3).softmax(1)) / 5
    torch.testing.assert_close(student.grad, expected.detach(), rtol=1e-10, atol=1e-14)
    student.grad = None
    soft_loss(student, teacher, 1e4).backward()  # type: ignore[no-untyped-call]
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(student.grad, (centred / 20).detach(), rtol=1e-3, atol=1e-5)


def test_hard_is_the_cross_entropy_with_the_first_answer() -> None:
    student, teacher = numbers(6, 3), numbers(6, 3, seed=1)
    expected = -student.log_softmax(1)[torch.arange(6), teacher.argmax(1)].mean()
    assert float(hard_loss(student, teacher)) == pytest.approx(float(expected), rel=1e-12)


def test_feature_is_relative_to_the_teacher() -> None:
    teacher = numbers(2, 3, 4, 4, seed=1)
    assert float(feature_loss(torch.zeros_like(teacher), teacher)) == pytest.approx(1.0)
    assert float(feature_loss(1.5 * teacher, teacher)) == pytest.approx(0.25)
    assert float(feature_loss(150 * teacher, 100 * teacher)) == pytest.approx(0.25)


def test_attention_compares_where_the_energy_is() -> None:
    student, teacher = numbers(2, 3, 4, 4), numbers(2, 5, 4, 4, seed=1)
    total = 0.0
    for own, wanted in zip(student, teacher):
        a, b = (
            torch.tensor([float((x[:, i, j] ** 2).sum()) for i in range(4) for j in range(4)]) for x in (own, wanted)
        )
        total += float((a / a.norm() - b / b.norm()).square().sum())
    assert float(attention_loss(student, teacher)) == pytest.approx(total / 2, rel=1e-5)
    assert float(attention_loss(7 * teacher[:, [1, 0, 2, 3, 4]], teacher)) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("loss", [feature_loss, attention_loss])
def test_a_teachers_map_of_another_size_is_averaged(loss: Loss) -> None:
    student, large = numbers(2, 3, 4, 4), numbers(2, 3, 8, 8, seed=1)
    averaged = large.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert float(loss(student, large)) == pytest.approx(float(loss(student, averaged)), rel=1e-12)
    small = numbers(2, 3, 2, 2, seed=1)
    assert float(loss(student, small)) == pytest.approx(float(loss(student, F.interpolate(small, 4))), rel=1e-12)


def test_relational_against_a_plain_loop() -> None:
    student, teacher = numbers(5, 3), numbers(5, 7, seed=1)

    def distances(x: Tensor) -> list[list[float]]:
        found = [[float((a - b).norm()) for b in x] for a in x]
        mean = sum(sum(row) for row in found) / (len(x) * (len(x) - 1))
        return [[d / mean for d in row] for row in found]

    def angle(x: Tensor, i: int, j: int, k: int) -> float:
        a, b = x[i] - x[j], x[k] - x[j]
        return 0.0 if j in (i, k) else float(a @ b / (a.norm() * b.norm()))

    own, wanted = distances(student), distances(teacher)
    far = sum(huber(own[i][j] - wanted[i][j]) for i in range(5) for j in range(5)) / 25
    triples = [(i, j, k) for i in range(5) for j in range(5) for k in range(5)]
    turned = sum(huber(angle(student, *t) - angle(teacher, *t)) for t in triples) / 125
    assert float(relational_loss(student, teacher)) == pytest.approx(far + 2 * turned, rel=1e-10)


def test_relational_sees_neither_shift_nor_scale_nor_rotation() -> None:
    teacher = numbers(6, 4, seed=1)
    rotation, _ = torch.linalg.qr(numbers(4, 4))
    assert float(relational_loss(3 * teacher @ rotation + 5, teacher)) == pytest.approx(0.0, abs=1e-12)


def test_relational_works_by_groups() -> None:
    student, teacher = numbers(GROUP + 10, 3), numbers(GROUP + 10, 4, seed=1)
    first = relational_loss(student[:GROUP], teacher[:GROUP])
    rest = relational_loss(student[GROUP:], teacher[GROUP:])
    expected = (GROUP * first + 10 * rest) / (GROUP + 10)
    assert float(relational_loss(student, teacher)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (lambda s, t: soft_loss(s, t, 2.0), (4, 3)),
        (hard_loss, (4, 3)),
        (feature_loss, (2, 3, 2, 2)),
        (attention_loss, (2, 3, 2, 2)),
        (relational_loss, (4, 3)),
    ],
)
def test_gradients_are_those_of_finite_differences(loss: Loss, shape: tuple[int, ...]) -> None:
    student, teacher = numbers(*shape).requires_grad_(), numbers(*shape, seed=1)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), (student,))


def test_relational_of_equal_images_has_a_finite_gradient() -> None:
    student = torch.ones(4, 3, requires_grad=True)
    relational_loss(student, numbers(4, 3).float()).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    one = relational_loss(torch.ones(1, 3), torch.ones(1, 5))
    assert float(one) == 0.0
