"""The class in Swift that a bundle carries for Core ML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...arch.spec import Preprocessing
from ...data.preprocess import resized_sides

_PROGRAM = """\
import CoreGraphics
import CoreML
import CoreVideo
import Foundation
import ImageIO

/// Says what a picture shows, by {path} of the bundle:
///
///     let classifier = try Classifier(package: bundleURL.appendingPathComponent("{path}"))
///     for (label, score) in try classifier.predict(picture: url) {{ print(label, score) }}
public final class Classifier {{
    public enum Failure: Error {{ case noPicture(URL), noBuffer, noLogits }}

    public static let labels = [
        {labels},
    ]
    static let side = {size}
    static let temperature: Float = {temperature}  // scores are softmax(logits / temperature)
    static let threshold: Float = {threshold}  // below it the answer is "unknown"

    private let model: MLModel

    public init(package: URL) throws {{
        model = try MLModel(contentsOf: try MLModel.compileModel(at: package))
    }}

    /// The likeliest classes with their scores, the likeliest first; before them "unknown" where none is likely enough.
    public func predict(picture url: URL, top: Int = 5) throws -> [(label: String, score: Float)] {{
        let picture = Self.fit(try Picture(contentsOf: url))
        let image = MLFeatureValue(pixelBuffer: try picture.buffer())
        let output = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: ["image": image]))
        guard let logits = output.featureValue(for: "logits")?.multiArrayValue else {{ throw Failure.noLogits }}
        let values = (0..<logits.count).map {{ logits[$0].floatValue / Self.temperature }}
        let powers = values.map {{ exp($0 - values.max()!) }}
        let sum = powers.reduce(0, +)
        let answers = zip(Self.labels, powers).map {{ (label: $0, score: $1 / sum) }}.sorted {{ $0.score > $1.score }}
        let unknown = answers[0].score < Self.threshold ? [(label: "unknown", score: answers[0].score)] : []
        return unknown + answers.prefix(top)
    }}

    /// The picture as the network takes it; the numbers are those of bundle.json.
    static func fit(_ picture: Picture) -> Picture {{
{fit}
    }}
}}

/// RGB, three values from 0 to 255 for each pixel, row by row.
struct Picture {{
    var width: Int, height: Int
    var values: [Float]

    /// Decoded and turned upright.
    init(contentsOf url: URL) throws {{
        let upright: [CFString: Any] = [
            kCGImageSourceCreateThumbnailFromImageAlways: true, kCGImageSourceCreateThumbnailWithTransform: true,
            kCGImageSourceThumbnailMaxPixelSize: 1 << 15,
        ]
        guard let source = CGImageSourceCreateWithURL(url as CFURL, nil),
            let image = CGImageSourceCreateThumbnailAtIndex(source, 0, upright as CFDictionary)
        else {{ throw Classifier.Failure.noPicture(url) }}
        (width, height) = (image.width, image.height)
        var bytes = [UInt8](repeating: 0, count: 4 * width * height)
        let area = CGRect(x: 0, y: 0, width: width, height: height)
        bytes.withUnsafeMutableBytes {{
            CGContext(
                data: $0.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
                bytesPerRow: 4 * image.width, space: CGColorSpace(name: CGColorSpace.sRGB)!,
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!.draw(image, in: area)
        }}
        values = bytes.indices.filter {{ $0 % 4 != 3 }}.map {{ Float(bytes[$0]) }}
    }}

    init(width: Int, height: Int) {{
        (self.width, self.height) = (width, height)
        values = [Float](repeating: 0, count: 3 * width * height)
    }}

    func cropped(x: Int, y: Int, width: Int, height: Int) -> Picture {{
        var part = Picture(width: width, height: height)
        for row in 0..<height {{
            let here = 3 * row * width, there = 3 * ((y + row) * self.width + x), count = 3 * width
            part.values.replaceSubrange(here..<here + count, with: values[there..<there + count])
        }}
        return part
    }}

    func rounded() -> Picture {{
        var other = self
        other.values = values.map {{ min(max($0.rounded(), 0), 255) }}
        return other
    }}

    func stretched(width: Int) -> Picture {{
        var other = Picture(width: width, height: height)
        let taps = Self.taps(from: self.width, to: width)
        for y in 0..<height {{
            for x in 0..<width {{
                for (i, weight) in taps[x] {{
                    for c in 0..<3 {{
                        other.values[3 * (y * width + x) + c] += weight * values[3 * (y * self.width + i) + c]
                    }}
                }}
            }}
        }}
        return other
    }}

    func turned() -> Picture {{
        var other = Picture(width: height, height: width)
        for y in 0..<height {{
            for x in 0..<width {{
                for c in 0..<3 {{ other.values[3 * (x * height + y) + c] = values[3 * (y * width + x) + c] }}
            }}
        }}
        return other
    }}

    func stretched(height: Int) -> Picture {{ turned().stretched(width: height).turned() }}

{resize}

    /// As Core ML takes it.
    func buffer() throws -> CVPixelBuffer {{
        var made: CVPixelBuffer?
        CVPixelBufferCreate(kCFAllocatorDefault, width, height, kCVPixelFormatType_32BGRA, nil, &made)
        guard let buffer = made else {{ throw Classifier.Failure.noBuffer }}
        CVPixelBufferLockBaseAddress(buffer, [])
        defer {{ CVPixelBufferUnlockBaseAddress(buffer, []) }}
        let rows = CVPixelBufferGetBaseAddress(buffer)!.assumingMemoryBound(to: UInt8.self)
        for y in 0..<height {{
            for x in 0..<width {{
                let pixel = rows + y * CVPixelBufferGetBytesPerRow(buffer) + 4 * x
                for c in 0..<3 {{ pixel[2 - c] = UInt8(values[3 * (y * width + x) + c]) }}
                pixel[3] = 255
            }}
        }}
        return buffer
    }}
}}
"""

_AREA_LINEAR = """\
    /// Averages along a side that shrinks, interpolates along a side that grows, the shrinking first.
    func resized(width: Int, height: Int) -> Picture {
        let shrunk = stretched(width: min(width, self.width)).stretched(height: min(height, self.height)).rounded()
        return shrunk.stretched(width: width).stretched(height: height).rounded()
    }

    /// For each pixel of the new side the old pixels that it is made of, and their weights.
    static func taps(from old: Int, to new: Int) -> [[(Int, Float)]] {
        let scale = Double(old) / Double(new)
        return (0..<new).map { place in
            if new > old {
                let at = (Double(place) + 0.5) * scale - 0.5
                let low = Int(at.rounded(.down))
                let part = Float(at - Double(low))
                return [(max(low, 0), 1 - part), (min(low + 1, old - 1), part)]
            }
            let start = Double(place) * scale, end = min(Double(place + 1) * scale, Double(old))
            return (Int(start)..<Int(end.rounded(.up))).map { i in
                (i, Float((min(end, Double(i + 1)) - max(start, Double(i))) / (end - start)))
            }
        }
    }"""

_PILLOW = """\
    /// Pillow's antialiased kernel, the width first.
    func resized(width: Int, height: Int) -> Picture {{
        stretched(width: width).rounded().stretched(height: height).rounded()
    }}

    /// For each pixel of the new side the old pixels that it is made of, and their weights.
    static func taps(from old: Int, to new: Int) -> [[(Int, Float)]] {{
        let scale = Double(old) / Double(new), stretch = max(scale, 1)
        return (0..<new).map {{ place in
            let centre = (Double(place) + 0.5) * scale, reach = {support} * stretch
            let range = max(Int(centre - reach + 0.5), 0)..<min(Int(centre + reach + 0.5), old)
            let weights = range.map {{ kernel((Double($0) - centre + 0.5) / stretch) }}
            let sum = weights.reduce(0, +)
            return zip(range, weights).map {{ ($0, Float($1 / sum)) }}
        }}
    }}

    static func kernel(_ place: Double) -> Double {{
        let x = abs(place)
{kernel}
    }}"""

_KERNELS = {
    "bilinear": (1.0, "        return max(1 - x, 0)"),
    "bicubic": (
        2.0,
        "        if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }\n"
        "        return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0",
    ),
}

_SHORTEST = """\
        let (w, h) = (picture.width, picture.height)
        let longer = Int(Double(max(w, h)) * {short} / Double(min(w, h)) + 0.5)
        let (width, height) = h <= w ? (longer, {short}) : ({short}, longer)
        let whole = picture.resized(width: width, height: height)
        let (x, y) = ((whole.width - side) / 2, (whole.height - side) / 2)
        return whole.cropped(x: x, y: y, width: side, height: side)"""

_SQUASH = "        return picture.resized(width: side, height: side)"

_CENTRAL = """\
        let (w, h) = (Double(picture.width), Double(picture.height))
        let (x, y) = (Int((w - w * {fraction!r}) / 2), Int((h - h * {fraction!r}) / 2))
        let middle = picture.cropped(x: x, y: y, width: picture.width - 2 * x, height: picture.height - 2 * y)
        return middle.resized(width: side, height: side)"""


def swift_example(preprocessing: Preprocessing, path: str, labels: list[str], decision: Mapping[str, Any]) -> str:
    """The source of Classifier.swift: decoding, resizing, the model, scores; `decision` is that of bundle.json."""
    size = preprocessing.resolution
    short = min(resized_sides(size, size, preprocessing))
    resize = _AREA_LINEAR
    if preprocessing.interpolation != "area_linear":
        support, kernel = _KERNELS[preprocessing.interpolation]
        resize = _PILLOW.format(support=support, kernel=kernel)
    fit = {"shortest": _SHORTEST, "squash": _SQUASH, "central": _CENTRAL}[preprocessing.resize]
    return _PROGRAM.format(
        path=path,
        labels=",\n        ".join(map(quoted, labels)),
        size=size,
        temperature=repr(float(decision["temperature"] or 1.0)),
        threshold=repr(float(decision["threshold"] or 0.0)),
        fit=fit.format(short=short, fraction=preprocessing.crop_fraction),
        resize=resize,
    )


def quoted(text: str) -> str:
    """A string literal of Swift."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
