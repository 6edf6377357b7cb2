"""Augmentation: what each training image goes through, drawn for a whole epoch at once so that it can be repeated.

Geometry, colour and the policies work on the single uint8 image (one warp, one 3x3 matrix, tables), where OpenCV is an
order of magnitude quicker than torch; erasing, mixup and cutmix work on the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from ..arch.check import check_number
from ..errors import UserError
from .policies import POLICIES, Levels, Policy, autoaugment, randaugment


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images vary. All strengths at 0 leave the centre crop.

    Ranges: `scale` is the part of the area a crop covers; `ratio` its aspect ratio's bounds; `rotate` in degrees and
    `shear` in units of tan, both drawn symmetrically; `colour` is the strength of brightness, contrast and
    saturation, all three factors; `brightness` the part of the full range that is added or taken, `saturation` the
    strength of that factor alone, `colour`'s where it is more; `hue` in turns; `grey`, `blur` and `erase` are
    probabilities; `randaugment` the number of operations of `magnitude` (0...10, by `levels` of `tensorflow` 0...30),
    each applied with `operation_probability`, shifts by up to `shift` of the side at magnitude 10, see
    `policies.level_of`; `autoaugment` the policy that takes its place; `mixup` and `cutmix` are the alpha of their Beta
    distributions.
    """

    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    rotate: float = 0.0
    shear: float = 0.0
    colour: float = 0.3
    brightness: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    erase: float = 0.0
    randaugment: int = 0
    magnitude: float = 7.0
    levels: Levels = "increasing"
    shift: float = 0.45
    operation_probability: float = 1.0
    autoaugment: Policy = "none"
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise UserError(f"crop scale {low:g}...{high:g} is out of range: allowed is 0 < low <= high <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(
                f"crop ratio {self.ratio[0]:g}...{self.ratio[1]:g} is out of range: allowed is 0 < low <= high"
            )
        most = {"grey": 1, "blur": 1, "erase": 1, "operation_probability": 1}
        most |= {"randaugment": 10, "magnitude": 30 if self.levels == "tensorflow" else 10, "shift": 1}
        most |= {"mixup": 10, "cutmix": 10, "rotate": 180, "shear": 2}
        most |= {"colour": 1, "brightness": 1, "saturation": 1, "hue": 1}
        for name, bound in most.items():
            check_number(name.replace("_", " "), getattr(self, name), least=0, most=bound)
        if self.autoaugment != "none" and self.randaugment:
            raise UserError(
                f"autoaugment {self.autoaugment} and randaugment {self.randaugment} contradict each other: "
                "leave one of the two out"
            )


MOST_SHRINK = 1.8  # input by output pixels of a side, up to which a warp alone keeps detail from turning into noise
DRAWS = 16  # uniform numbers per image and epoch; each use has its own column, so that one setting moves no other


def draw(seed: int, epoch: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch, (images,), and its random numbers, (images, DRAWS) in 0...1, row i for image i."""
    rng = np.random.default_rng((seed, epoch))
    return rng.permutation(images), rng.random((images, DRAWS), dtype=np.float32)


def warp(image: np.ndarray, augmentation: Augmentation, u: np.ndarray, size: int) -> np.ndarray:
    """A random resized crop with rotation, shear and flip in one warp, then colour: uint8 (H, W, 3) -> (size, size, 3).

    `u` is the image's row of `draw`. Borders that rotation uncovers are mirrored.
    """
    matrix = _affine(image.shape[0], image.shape[1], augmentation, u, size)
    factor = math.ceil(_shrink(matrix) / MOST_SHRINK)
    if factor > 1:  # a warp samples 2x2 pixels: shrink first, or fine detail turns into noise
        image, matrix = _shrunk(image, matrix, factor)
    if image.shape[2] == 3:  # with a fourth channel OpenCV's warp is vectorised, 2.4 times as quick, and as exact
        image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    out = cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    out = cv2.cvtColor(out, cv2.COLOR_RGBA2RGB)
    out = recolour(out, augmentation, u)
    if augmentation.blur and u[10] < augmentation.blur:
        out = cv2.GaussianBlur(out, (0, 0), 0.3 + 1.2 * float(u[11]))
    if augmentation.randaugment or augmentation.autoaugment in POLICIES:
        rng = np.random.default_rng((u[12:15] * 2**24).astype(np.uint32))
        if augmentation.autoaugment in POLICIES:
            return autoaugment(out, augmentation.autoaugment, rng)
        return randaugment(
            out,
            augmentation.randaugment,
            augmentation.magnitude,
            augmentation.operation_probability,
            rng,
            levels=augmentation.levels,
            shift=augmentation.shift,
        )
    return out


def shrink_of_crop(height: int, width: int, augmentation: Augmentation, u: np.ndarray, size: int) -> float:
    """By how much `warp` shrinks the crop that it takes from a picture of (height, width): input by output pixels."""
    return _shrink(_affine(height, width, augmentation, u, size))


def _shrink(matrix: np.ndarray) -> float:
    return math.sqrt(abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]))


def _shrunk(image: np.ndarray, matrix: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture at 1/`factor`, and the matrix to it; a whole factor is what OpenCV's mean over areas is quick at."""
    height, width = (-(-side // factor) for side in image.shape[:2])
    below, right = height * factor - image.shape[0], width * factor - image.shape[1]
    if below or right:
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    offset = (matrix[:, 2:] - (factor - 1) / 2) / factor  # pixel centres: 0 lies between the first `factor` pixels
    return image, np.hstack([matrix[:, :2] / factor, offset])


def _affine(height: int, width: int, augmentation: Augmentation, u: np.ndarray, size: int) -> np.ndarray:
    """(2, 3) matrix from output pixels to input pixels."""
    low, high = augmentation.scale
    area = (low + (high - low) * float(u[0])) * height * width
    bounds = [math.log(r) for r in augmentation.ratio]
    ratio = math.exp(bounds[0] + (bounds[1] - bounds[0]) * float(u[1]))
    crop_w = min(math.sqrt(area * ratio), width)
    crop_h = min(math.sqrt(area / ratio), height)
    left = float(u[2]) * (width - crop_w)
    top = float(u[3]) * (height - crop_h)
    angle = math.radians(augmentation.rotate) * (2 * float(u[4]) - 1)
    shear = augmentation.shear * (2 * float(u[5]) - 1)
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, shear], [0.0, 1.0]])
    linear = linear @ np.diag([crop_w / size, crop_h / size])
    if augmentation.flip and u[6] < 0.5:
        linear = linear @ np.diag([-1.0, 1.0])
    centre = np.array([left + crop_w / 2 - 0.5, top + crop_h / 2 - 0.5])
    offset = centre - linear @ np.full(2, (size - 1) / 2)
    return np.column_stack([linear, offset])


# Colour -----------------------------------------------------------------------------------------------------------

_LUMA = np.array([0.299, 0.587, 0.114])
_GREY = np.tile(_LUMA, (3, 1))
_SAME = np.eye(3)


def recolour(image: np.ndarray, augmentation: Augmentation, u: np.ndarray) -> np.ndarray:
    """Brightness, contrast, saturation, hue and grey as one 3x3 matrix and offset; contrast turns about the mean.

    uint8 (H, W, 3) both ways, saturating; `u` is the image's row of `draw`.
    """
    strength = augmentation.colour
    strengths = (strength, strength, max(strength, augmentation.saturation))
    if not (any(strengths) or augmentation.brightness or augmentation.hue or augmentation.grey):
        return image
    brightness, contrast, saturation = (1 + part * (2 * float(u[7 + i]) - 1) for i, part in enumerate(strengths))
    if u[15] < augmentation.grey:
        saturation = 0.0
    matrix = saturation * _SAME + (1 - saturation) * _GREY
    if augmentation.hue:
        matrix = matrix @ _hue_rotation(2 * math.pi * augmentation.hue * (2 * float(u[11]) - 1))
    mean = float(_LUMA @ cv2.mean(image)[:3])
    affine = np.empty((3, 4))
    affine[:, :3] = brightness * contrast * matrix
    affine[:, 3] = brightness * (1 - contrast) * mean + 255 * augmentation.brightness * (2 * float(u[7]) - 1)
    return cv2.transform(image, affine)


def _hue_rotation(angle: float) -> np.ndarray:
    """(3, 3) rotation of RGB about the grey axis by `angle` radians."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) / 3 + math.sin(angle) * cross


# On the batch -----------------------------------------------------------------------------------------------------


def erase_(
    batch: Tensor,
    probability: float,
    rng: np.random.Generator,
    places: np.ndarray | None = None,
    whole: int | None = None,
) -> Tensor:
    """Random erasing (Zhong et al. 2020): a rectangle of 2-25 % of the area becomes the batch mean, in place.

    Where `batch` is a part of one of `whole` images, those at `places`, each image loses what it would have lost there.
    """
    n, _, height, width = batch.shape
    row = dict(zip(range(n) if places is None else places.tolist(), range(n)))
    for i in np.flatnonzero(rng.random(n if whole is None else whole) < probability).tolist():
        area, ratio = rng.uniform(0.02, 0.25) * height * width, math.exp(rng.uniform(-1.2, 1.2))
        h = min(height, max(1, round(math.sqrt(area * ratio))))
        w = min(width, max(1, round(math.sqrt(area / ratio))))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        if i in row:
            batch[row[i], :, top : top + h, left : left + w] = 0
    return batch


def mix(batch: Tensor, targets: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019) of a batch with itself in reverse order.

    `batch` (N, 3, H, W), `targets` (N, C). Where both are on, each batch takes one of the two.
    """
    use_cutmix = augmentation.cutmix > 0 and (augmentation.mixup == 0 or rng.random() < 0.5)
    alpha = augmentation.cutmix if use_cutmix else augmentation.mixup
    if not alpha:
        return batch, targets
    keep = float(rng.beta(alpha, alpha))
    if use_cutmix:
        height, width = batch.shape[2:]
        side = math.sqrt(1 - keep)
        y, x = int(rng.integers(height)), int(rng.integers(width))
        top, bottom = max(0, round(y - side * height / 2)), min(height, round(y + side * height / 2))
        left, right = max(0, round(x - side * width / 2)), min(width, round(x + side * width / 2))
        mixed = batch.clone()
        mixed[:, :, top:bottom, left:right] = batch.flip(0)[:, :, top:bottom, left:right]
        keep = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = keep * batch + (1 - keep) * batch.flip(0)
    return mixed, keep * targets + (1 - keep) * targets.flip(0)
