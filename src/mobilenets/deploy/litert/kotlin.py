"""The Kotlin class that a bundle carries for Android: decoded picture in, names and scores out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEAD = """\
/*
 * Says what a picture shows, by {name} in LiteRT: written by mobilenets for this bundle. Put your package in front.
 *
 * In an app's module:
 *   src/main/assets/       {path} as model.tflite, and bundle.json
 *   build.gradle.kts       implementation("com.google.ai.edge.litert:litert:2.1.6") and
 *                          android {{ androidResources {{ noCompress += "tflite" }} }}
 */
import android.content.Context
import android.graphics.Bitmap
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
{abs}import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

private const val SIZE = {size} // the network takes {size} x {size} pixels
private const val CLASSES = {classes}
{constants}
"""

_CLASS = """
/** A class and its score, 0 to 1. */
data class Guess(val label: String, val score: Float)

/** `label` is that of the likeliest class, or "unknown" where its score lies below the bundle's threshold. */
data class Answer(val label: String, val guesses: List<Guess>)

/** The network, ready to be asked from one thread at a time; `close` frees its memory. */
class Classifier(context: Context, threads: Int = 2) : AutoCloseable {
    private val interpreter: Interpreter
    private val labels: List<String>
    private val temperature: Double
    private val threshold: Double

    init {
        val bundle = JSONObject(context.assets.open("bundle.json").bufferedReader().use { it.readText() })
        val names = bundle.getJSONArray("labels")
        labels = List(names.length()) { names.getJSONObject(it).getString("name") }
        check(labels.size == CLASSES) { "bundle.json names ${labels.size} classes, this network has $CLASSES" }
        val decision = bundle.getJSONObject("decision") // null stands for what has not been fitted
        temperature = if (decision.isNull("temperature")) 1.0 else decision.getDouble("temperature")
        threshold = if (decision.isNull("threshold")) 0.0 else decision.getDouble("threshold")
        val model = context.assets.openFd("model.tflite").use { file ->
            FileInputStream(file.fileDescriptor).use {
                it.channel.map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
            }
        }
        interpreter = Interpreter(model, Interpreter.Options().setNumThreads(threads))
    }

    /**
     * What an upright picture shows, the `top` likeliest classes first.
     *
     * ImageDecoder (setAllocator(ALLOCATOR_SOFTWARE)) turns a photo by its EXIF orientation, BitmapFactory does not;
     * a camera's frame is to be turned by its rotationDegrees.
     */
    fun classify(picture: Bitmap, top: Int = 5): Answer {
        val pixels = IntArray(picture.width)
        return answer(logits(prepare(picture.width, picture.height) { y, row ->
            picture.getPixels(pixels, 0, picture.width, 0, y, picture.width, 1)
            for (x in pixels.indices) {
                row[3 * x] = (pixels[x] shr 16 and 255).toFloat()
                row[3 * x + 1] = (pixels[x] shr 8 and 255).toFloat()
                row[3 * x + 2] = (pixels[x] and 255).toFloat()
            }
        }), top)
    }

    /** The network's own numbers for SIZE x SIZE x 3 bytes of RGB. */
    fun logits(image: ByteBuffer): FloatArray {
        val out = arrayOf(FloatArray(CLASSES))
        interpreter.run(image, out)
        return out[0]
    }

    private fun answer(logits: FloatArray, top: Int): Answer {
        val largest = logits.max()
        val powers = DoubleArray(CLASSES) { exp((logits[it] - largest) / temperature) }
        val sum = powers.sum()
        val best = powers.indices.sortedByDescending { powers[it] }.take(top)
        val guesses = best.map { Guess(labels[it], (powers[it] / sum).toFloat()) }
        return Answer(if (guesses[0].score < threshold) "unknown" else guesses[0].label, guesses)
    }

    override fun close() = interpreter.close()
}

/** RGB values row by row, 0 to 255. */
private class Picture(val width: Int, val height: Int, val values: FloatArray) {
    fun rounded() = apply {
        for (i in values.indices) values[i] = (values[i] + 0.5f).toInt().coerceIn(0, 255).toFloat()
    }

    fun read(y: Int, row: FloatArray) {
        values.copyInto(row, 0, 3 * width * y, 3 * width * (y + 1))
    }
}

/** What one pixel of a resized row or column is made of: the pixels from `first` on, by these weights. */
private class Taps(val first: Int, val weights: FloatArray)

private fun across(width: Int, height: Int, taps: List<Taps>, read: (Int, FloatArray) -> Unit): Picture {
    val row = FloatArray(3 * width)
    val out = FloatArray(3 * taps.size * height)
    var at = 0
    for (y in 0 until height) {
        read(y, row)
        for (tap in taps) for (c in 0..2) {
            var sum = 0f
            for (k in tap.weights.indices) sum += tap.weights[k] * row[3 * (tap.first + k) + c]
            out[at++] = sum
        }
    }
    return Picture(taps.size, height, out)
}

private fun down(picture: Picture, taps: List<Taps>): Picture {
    val length = 3 * picture.width
    val out = FloatArray(length * taps.size)
    for ((y, tap) in taps.withIndex()) for (k in tap.weights.indices) {
        val from = length * (tap.first + k)
        for (i in 0 until length) out[length * y + i] += tap.weights[k] * picture.values[from + i]
    }
    return Picture(picture.width, taps.size, out)
}
"""

_AREA_LINEAR = """
/** A side that shrinks averages the pixels it covers, by overlap. */
private fun area(from: Int, to: Int): List<Taps> = List(to) { i ->
    val low = i * from.toDouble() / to
    val high = (i + 1) * from.toDouble() / to
    val first = min((low + 1e-6).toInt(), from - 1)
    val last = min((high - 1e-6).toInt(), from - 1)
    Taps(first, FloatArray(last - first + 1) {
        ((min(high, first + it + 1.0) - max(low, (first + it).toDouble())) / (high - low)).toFloat()
    })
}

/** A side that grows is interpolated between the middles of pixels, the outermost repeated. */
private fun linear(from: Int, to: Int): List<Taps> = List(to) { i ->
    val at = ((i + 0.5) * from / to - 0.5).coerceIn(0.0, from - 1.0)
    val first = at.toInt()
    val share = (at - first).toFloat()
    if (first + 1 < from) Taps(first, floatArrayOf(1 - share, share)) else Taps(first, floatArrayOf(1f))
}

private fun resize(width: Int, height: Int, toWidth: Int, toHeight: Int, read: (Int, FloatArray) -> Unit): Picture {
    val wide = min(width, toWidth)
    val high = min(height, toHeight)
    val shrunk = down(across(width, height, area(width, wide), read), area(height, high)).rounded()
    if (wide == toWidth && high == toHeight) return shrunk
    return down(across(wide, high, linear(wide, toWidth), shrunk::read), linear(high, toHeight)).rounded()
}
"""

_PILLOW = """
{kernel}
/** Pillow's antialiased kernel of radius {radius}: stretched where the side shrinks. */
private fun taps(from: Int, to: Int): List<Taps> = List(to) {{ i ->
    val scale = from.toDouble() / to
    val stretch = max(scale, 1.0)
    val centre = (i + 0.5) * scale
    val first = max((centre - {radius} * stretch + 0.5).toInt(), 0)
    val end = min((centre + {radius} * stretch + 0.5).toInt(), from)
    val weights = DoubleArray(end - first) {{ kernel((first + it + 0.5 - centre) / stretch) }}
    val sum = weights.sum()
    Taps(first, FloatArray(weights.size) {{ (weights[it] / sum).toFloat() }})
}}

private fun resize(width: Int, height: Int, toWidth: Int, toHeight: Int, read: (Int, FloatArray) -> Unit): Picture =
    down(across(width, height, taps(width, toWidth), read).rounded(), taps(height, toHeight)).rounded()
"""

_KERNELS = {
    "bilinear": ("private fun kernel(x: Double) = max(0.0, 1.0 - abs(x))\n", 1),
    "bicubic": (
        """\
private fun kernel(x: Double): Double {
    val d = abs(x)
    return if (d < 1) (1.5 * d - 2.5) * d * d + 1 else if (d < 2) (((d - 5) * d + 8) * d - 4) * -0.5 else 0.0
}
""",
        2,
    ),
}

_FITS = {
    "shortest": """\
    val long = (max(width, height) * SHORT.toDouble() / min(width, height) + 0.5).toInt()
    val resized =
        if (height <= width) resize(width, height, long, SHORT, read) else resize(width, height, SHORT, long, read)
    val left = (resized.width - SIZE) / 2
    val top = (resized.height - SIZE) / 2
""",
    "squash": """\
    val resized = resize(width, height, SIZE, SIZE, read)
    val left = 0
    val top = 0
""",
    "central": """\
    val across = ((width - width * FRACTION) / 2).toInt()
    val down = ((height - height * FRACTION) / 2).toInt()
    val whole = FloatArray(3 * width)
    val resized = resize(width - 2 * across, height - 2 * down, SIZE, SIZE) { y, row ->
        read(y + down, whole)
        whole.copyInto(row, 0, 3 * across, 3 * (width - across))
    }
    val left = 0
    val top = 0
""",
}

_PREPARE = """
/** SIZE x SIZE x 3 bytes of RGB from a picture whose rows `read` fills in: (y, row), 3 * width values, 0 to 255. */
fun prepare(width: Int, height: Int, read: (Int, FloatArray) -> Unit): ByteBuffer {
%s\
    val image = ByteBuffer.allocateDirect(3 * SIZE * SIZE).order(ByteOrder.nativeOrder())
    for (y in top until top + SIZE) for (i in 3 * left until 3 * (left + SIZE)) {
        image.put(resized.values[3 * resized.width * y + i].toInt().toByte())
    }
    return image.apply { rewind() }
}
"""


def kotlin_class(manifest: Mapping[str, Any], path: str) -> str:
    """The source of Classifier.kt for the file at `path`, with the numbers of the manifest's network filled in.

    Labels, temperature and threshold it reads from bundle.json, which may be fitted anew.
    """
    told = manifest["preprocessing"]
    constants = {
        "shortest": f"private const val SHORT = {told['short_side']} // the short side before the centre is cut out",
        "squash": "",
        "central": f"private const val FRACTION = {told['crop_fraction']!r} // of each side that is kept",
    }[told["resize"]]
    kernel = _AREA_LINEAR
    if told["interpolation"] != "area_linear":
        function, radius = _KERNELS[told["interpolation"]]
        kernel = _PILLOW.format(kernel=function, radius=radius)
    head = _HEAD.format(
        name=manifest["name"],
        path=path,
        size=told["resolution"],
        classes=len(manifest["labels"]),
        constants=constants,
        abs="" if told["interpolation"] == "area_linear" else "import kotlin.math.abs\n",
    )
    return head.rstrip() + "\n" + _CLASS + kernel + _PREPARE % _FITS[told["resize"]]
