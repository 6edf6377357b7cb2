"""Training images by Pillow: the peer of benchmarks/loader.py, with the augmentation of `Augmentation()` there.

`by_steps` does what torchvision's transforms do to a PIL image, call for call (functional_pil.py, ColorJitter with its
random order). `at_best` is what Pillow can do when it is written for speed: a JPEG decoded at 1/2, 1/4 or 1/8 by
`draft`, one affine transform for crop, rotation and flip, one matrix for all of colour.
"""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageEnhance

SCALE, RATIO, DEGREES, JITTER, HUE, GREY = (0.35, 1.0), (3 / 4, 4 / 3), 20.0, 0.4, 0.03, 0.1
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def draw_crop(width, height):
    """(left, top, width, height) of a random resized crop, as torchvision's RandomResizedCrop draws it."""
    for _ in range(10):
        area = width * height * random.uniform(*SCALE)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def by_steps(path, size):
    """float32 (3, size, size), normalised."""
    image = Image.open(path).convert("RGB")
    left, top, width, height = draw_crop(*image.size)
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    image = image.rotate(random.uniform(-DEGREES, DEGREES), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    steps = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color, None]
    random.shuffle(steps)
    for step in steps:
        image = turn_hue(image) if step is None else step(image).enhance(random.uniform(1 - JITTER, 1 + JITTER))
    if random.random() < GREY:
        image = Image.merge("RGB", [image.convert("L")] * 3)
    return to_tensor(image)


def turn_hue(image):
    """The image with its hue turned by up to HUE of a circle, by way of HSV."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int16) + int(255 * random.uniform(-HUE, HUE))).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def at_best(path, size):
    """float32 (3, size, size), normalised."""
    image = Image.open(path)
    image.draft("RGB", (size, size))
    image = image.convert("RGB")
    left, top, width, height = draw_crop(*image.size)
    angle, flip = math.radians(random.uniform(-DEGREES, DEGREES)), random.choice((-1, 1))
    cos, sin = math.cos(angle), math.sin(angle)
    a, b, d, e = flip * cos * width / size, -sin * height / size, flip * sin * width / size, cos * height / size
    c, f = left + width / 2 - (a + b) * size / 2, top + height / 2 - (d + e) * size / 2
    image = image.transform(
        (size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), resample=Image.Resampling.BILINEAR
    )
    return to_tensor(image.convert("RGB", colour_matrix(image)))


def colour_matrix(image):
    """Brightness, contrast about the mean, saturation and grey as the 12 numbers that Pillow's convert takes."""
    brightness, contrast, saturation = (random.uniform(1 - JITTER, 1 + JITTER) for _ in range(3))
    if random.random() < GREY:
        saturation = 0.0
    luma = np.array([0.299, 0.587, 0.114])
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * np.tile(luma, (3, 1)))
    mean = np.asarray(image.resize((1, 1), Image.Resampling.BOX))[0, 0] @ luma
    return np.hstack([matrix, np.full((3, 1), brightness * (1 - contrast) * mean)]).ravel().tolist()


def to_tensor(image):
    """ToTensor and Normalize."""
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div_(255)
    return values.sub_(MEAN[:, None, None]).div_(STD[:, None, None])
