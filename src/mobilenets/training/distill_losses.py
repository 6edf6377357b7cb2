"""How far a student is from its teacher: the losses of distillation, each a mean over the batch.

Gradients flow into the student's side alone where the teacher's is computed without gradients. All take any float type.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

GROUP = 64  # images whose distances and angles are compared with each other


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² times the Kullback-Leibler divergence of (N, C) logits at temperature T, in nats (Hinton et al. 2015, §2).

    The factor keeps the size of the gradients the same whatever T; at a large T it is half the squared distance of the
    centred logits over C.
    """
    own = F.log_softmax(student / temperature, dim=1)
    wanted = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * (wanted.exp() * (wanted - own)).sum(dim=1).mean()


def hard_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of (N, C) logits against the teacher's first answer (Touvron et al. 2021, DeiT, eq. 3)."""
    return F.cross_entropy(student, teacher.argmax(dim=1))


def feature_loss(projected: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two feature maps (N, C, H, W) over the teacher's squared size: 1 for a student of zeros.

    FitNets (Romero et al. 2015, eq. 3) without its factor of a half; the paper does not divide, which leaves the size
    of the term to the size of the teacher's activations. The teacher's map is brought to the student's H x W.
    """
    teacher = _like(teacher, projected)
    return (projected - teacher).square().mean() / teacher.square().mean().clamp_min(1e-12)


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two attention maps, 0...2 (Zagoruyko & Komodakis 2017, eq. 2, squared as in their code).

    A map is the sum of squares over the channels of (N, C, H, W), of length 1 for each image; the numbers of channels
    may differ. The teacher's map is brought to the student's H x W.
    """
    own, wanted = _attention(student), _attention(_like(teacher, student))
    return (own - wanted).square().sum(dim=1).mean()


def relational_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """What distances and angles within the batch differ by: RKD-D + 2 RKD-A of Park et al. 2019 (eq. 4-8).

    `student` (N, D) and `teacher` (N, E) are embeddings; distances are in units of their mean, angles are the cosines
    at the second of each three images; both are compared by Huber's loss, within groups of up to 64 images: the angles
    of a whole batch grow with its third power.
    """
    total = student.new_zeros(())
    for own, wanted in zip(student.split(GROUP), teacher.split(GROUP)):
        distances = F.smooth_l1_loss(_distances(own), _distances(wanted))
        total = total + len(own) * (distances + 2 * F.smooth_l1_loss(_angles(own), _angles(wanted)))
    return total / len(student)


def _like(teacher: Tensor, student: Tensor) -> Tensor:
    """The teacher's map averaged (or repeated) to the height and width of the student's."""
    if teacher.shape[2:] == student.shape[2:]:
        return teacher
    return F.adaptive_avg_pool2d(teacher, (student.shape[2], student.shape[3]))


def _attention(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H * W) of length 1."""
    return F.normalize(x.square().sum(dim=1).flatten(1), dim=1)


def _distances(x: Tensor) -> Tensor:
    """(N, D) -> (N, N) Euclidean distances over the mean of those that are not 0."""
    squared = (x[:, None] - x[None]).square().sum(dim=2)
    apart = squared > 0
    found = torch.where(apart, squared, 1.0).sqrt() * apart  # the root of 0 has no gradient
    return found / (found.sum() / apart.sum().clamp_min(1)).clamp_min(1e-12)


def _angles(x: Tensor) -> Tensor:
    """(N, D) -> (N, N, N): [j, i, k] the cosine at image j between images i and k; 0 where two are the same."""
    arms = F.normalize(x[None] - x[:, None], dim=2, eps=1e-12)  # [j, i]: from j to i
    return arms @ arms.transpose(1, 2)
