"""Light on the hand, its shadow on what lies behind, and what the lens and the sensor do to the picture."""

from __future__ import annotations

import cv2
import numpy as np

from .field import Field
from .scene import Lens, Scene
from .skin import Surface, to_linear
from .trace import Camera, Hits, openness, shadow

# Light enters skin and comes out nearby, red most of all: shadows' edges glow instead of going grey.
_WRAP = np.array([0.36, 0.20, 0.15], np.float32)[:, None]


def shade(
    scene: Scene, field: Field, camera: Camera, hits: Hits, rng: np.random.Generator
) -> tuple[np.ndarray, Surface]:
    """Linear colours (3, P) of the points where rays met the hand, and what lies there."""
    surface = Surface(field, hits.points)
    normals = surface.normals
    surface.paint(scene.skin, scene.blush, scene.sleeve, rng)
    light = camera.to_hand @ scene.light.direction
    lit = shadow(field, hits.points, normals, light, scene.light.softness)
    sky = openness(field, hits.points, normals)
    direction = light.astype(np.float32)[:, None]
    facing = (normals * direction).sum(axis=0)
    wrap = np.where(surface.skin, _WRAP, 0.0)
    diffuse = np.clip((facing + wrap) / (1 + wrap), 0.0, None)
    # Shadows on skin are red at their edge too.
    diffuse *= np.where(surface.skin, lit ** np.array([0.75, 1.0, 1.05], np.float32)[:, None], lit)
    up = (camera.to_hand @ np.array([0.0, 1.0, 0.3])).astype(np.float32)[:, None]
    hemisphere = 0.8 + 0.2 * (normals * up).sum(axis=0)
    bounce = np.where(surface.skin, np.array([1.0, 0.93, 0.90], np.float32)[:, None] ** (2 * (1 - sky)), 1.0)
    key = scene.light.colour.astype(np.float32)[:, None]
    ambient = scene.light.ambient.astype(np.float32)[:, None]
    colour = surface.albedo * (key * diffuse + ambient * hemisphere * sky * bounce)
    half = direction - hits.rays
    half /= np.maximum(np.sqrt((half * half).sum(axis=0)), 1e-6)
    sheen = np.clip((normals * half).sum(axis=0), 0.0, 1.0)
    edge = (1.0 - np.clip(-(normals * hits.rays).sum(axis=0), 0.0, 1.0)) ** 4
    shine = surface.gloss * lit * (0.10 * sheen**14 + 0.06 * sheen**50) * (facing > 0)
    return colour + key * shine + ambient * 0.04 * edge * sky * surface.gloss, surface


def compose(scene: Scene, layer: np.ndarray, coverage: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3), sRGB 0…1: the hand's linear colours `layer` over a background that it shades."""
    size = coverage.shape[0]
    light = scene.light
    gap = size * (0.02 + 0.05 * light.softness)
    shift = -light.direction[:2] / max(light.direction[2], 0.3) * gap * (1.0, -1.0)
    moved = cv2.warpAffine(coverage, np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32), (size, size))
    cast = cv2.GaussianBlur(moved, (0, 0), size * (0.012 + 0.035 * light.softness))
    behind = to_linear(background) * (0.55 + 0.45 * light.colour / light.colour.max())
    behind = behind * (1.0 - light.shadow * cast[..., None])
    picture = behind + coverage[..., None] * (layer - behind)
    picture = np.maximum(picture * scene.exposure, 0.0)
    # A soft shoulder keeps bright skin from clipping.
    over = np.maximum(picture - 0.55, 0.0)
    picture = np.minimum(picture, 0.55) + 0.45 * (1.0 - np.exp(-over / 0.45))
    return np.power(picture, 1 / 2.2).astype(np.float32)


def photograph(picture: np.ndarray, lens: Lens, rng: np.random.Generator) -> np.ndarray:
    """The picture as a cheap camera delivers it, uint8 (H, W, 3): blur, vignette, noise, a JPEG round trip."""
    size = picture.shape[0]
    if lens.blur * size > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), lens.blur * size)
    length = round(lens.motion * size)
    if length > 1:
        kernel = np.zeros((2 * length + 1,) * 2, np.float32)
        reach = np.array([np.cos(lens.motion_angle), np.sin(lens.motion_angle)]) * length / 2
        first, last = np.round(length - reach).astype(int), np.round(length + reach).astype(int)
        cv2.line(kernel, (int(first[0]), int(first[1])), (int(last[0]), int(last[1])), 1.0)
        picture = cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    line = np.linspace(-1, 1, size, dtype=np.float32)
    picture = picture * (1.0 - lens.vignette * 0.5 * (line[:, None] ** 2 + line[None, :] ** 2))[..., None]
    picture = np.clip(0.5 + lens.contrast * (picture - 0.5), 0.0, 1.0) ** lens.gamma
    grain = rng.standard_normal(picture.shape, np.float32) * np.float32(lens.noise / 255)
    raw = np.clip((picture + grain) * 255 + 0.5, 0, 255).astype(np.uint8)
    done, data = cv2.imencode(".jpg", raw[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, lens.quality])
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1])
