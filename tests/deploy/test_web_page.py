"""The page in a real browser, headless Chromium: it answers as Python does, offline too, and asks no other host."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mobilenets.arch.spec import Preprocessing
from mobilenets.data.decode import decode_image
from mobilenets.data.preprocess import resize_and_crop
from mobilenets.deploy.manifest import preprocessing_contract
from mobilenets.deploy.page.onnxruntime_web import CDN, PARTS, fetched
from mobilenets.deploy.page.write import write_page
from mobilenets.deploy.predict import predict
from mobilenets.deploy.runtimes.onnx import OnnxSession
from running import running

api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow
SIDES = [(44, 56), (20, 24), (37, 100), (128, 128), (74, 148), (480, 640), (15, 200)]
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
LOADED = "html[data-ready]"
CONTROLLED = """() => new Promise((resolve) => {
    if (navigator.serviceWorker.controller) resolve();
    else navigator.serviceWorker.addEventListener("controllerchange", () => resolve());
})"""


class Handler(SimpleHTTPRequestHandler):
    """Serves the folder above the page: the page has to work below any path."""

    isolated = False

    def log_message(self, *_: Any) -> None:
        pass

    def end_headers(self) -> None:
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


class Isolated(Handler):
    isolated = True


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Bundle with the page in all precisions."""
    from mobilenets.deploy.export import export

    if fetched() is None:
        pytest.skip("onnxruntime-web cannot be had here: neither the cache nor a registry gives it")
    folder = tmp_path_factory.mktemp("page") / "bundle"
    export(run, folder, to=("web",), precisions=("float32", "weights8", "int8"))
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, one for all tests, with a camera that shows a moving test picture."""
    if PROGRAM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=PROGRAM, args=[*CAMERA])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(bundle: Path) -> Iterator[str]:
    """The address of the Bundle."""
    with running(ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(bundle.parent)))) as server:
        yield f"http://127.0.0.1:{server.server_port}/bundle/"


@pytest.fixture
def visit(chromium: Any, site: str) -> Iterator[Callable[..., Any]]:
    """Opens the page as a new visitor; at the end no error was logged and no other host was asked."""
    problems: list[str] = []
    contexts = []

    def opened(path: str = "web/", *, ready: str = LOADED, **settings: Any) -> Any:
        context = chromium.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        context.on("request", lambda request: None if local(request.url) else problems.append(request.url))
        page.goto(path if "://" in path else site + path)
        page.wait_for_selector(ready, state="attached")
        return page

    def local(url: str) -> bool:
        return url.startswith(("http://127.0.0.1:", "blob:", "data:"))

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def expect_answers(page: Any, expected: list[tuple[str, str]]) -> None:
    """Waits until the page shows these classes and scores, in this order."""
    api.expect(page.locator("#answers .label")).to_have_text([label for label, _ in expected])
    api.expect(page.locator("#answers .score")).to_have_text([score for _, score in expected])


def python_answers(bundle: Path, precision: str, image: Path) -> list[tuple[str, str]]:
    """The classes and scores of an image that needs no resize, best first."""
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    (logits,) = OnnxSession(bundle / f"web/{precision}/model.onnx", 1).run(decode_image(image.read_bytes())[None])
    powers = np.exp((logits - logits.max()) / (manifest["decision"]["temperature"] or 1.0))
    scores = powers / powers.sum()
    return [(manifest["labels"][index]["name"], f"{100 * scores[index]:.1f} %") for index in np.argsort(-scores)]


def verdict(bundle: Path, answers: list[tuple[str, str]]) -> str:
    """The best class, or that it is unknown."""
    threshold = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["decision"]["threshold"]
    label, score = answers[0]
    return "Unknown" if threshold is not None and float(score.split()[0]) / 100 < threshold else label


def logits_in_page(page: Any, precision: str, image: np.ndarray) -> np.ndarray:
    code = """async ([precision, encoded]) => {
        const { openModel, readPage } = await import("./model.js");
        const model = await openModel(await readPage(), precision);
        return Array.from(await model.logitsOf(Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))));
    }"""
    return np.array(page.evaluate(code, [precision, base64.b64encode(image.tobytes()).decode()]), np.float32)


def drop(page: Any, path: Path) -> None:
    data = base64.b64encode(path.read_bytes()).decode()
    transfer = page.evaluate_handle(
        """([encoded, name]) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
            return transfer;
        }""",
        [data, path.name],
    )
    page.dispatch_event("#stage", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("#stage", "drop", {"dataTransfer": transfer})


@pytest.mark.parametrize("precision", ["float32", "weights8", "int8"])
def test_golden_images_are_classified_as_python_does(precision: str, visit: Any, bundle: Path) -> None:
    page = visit()
    page.check(f"input[value={precision}]", force=True)
    session = OnnxSession(bundle / f"web/{precision}/model.onnx", 1)
    for image in sorted((bundle / "golden").glob("*.png")):
        page.set_input_files("#file", image)
        page.wait_for_selector(f"img[alt='The picture {image.name}']")
        expected = python_answers(bundle, precision, image)
        api.expect(page.locator("#verdict")).to_have_text(verdict(bundle, expected))
        if precision == "float32":
            expect_answers(page, expected)
        pixels = decode_image(image.read_bytes())
        (logits,) = session.run(pixels[None])
        found = logits_in_page(page, precision, pixels)
        tolerance = 0.02 if precision == "int8" else 1e-4
        np.testing.assert_allclose(found, logits, atol=tolerance * np.abs(logits).max())


def test_a_dropped_picture_is_classified(visit: Any, bundle: Path) -> None:
    page = visit()
    drop(page, bundle / "golden/1.png")
    expect_answers(page, python_answers(bundle, "float32", bundle / "golden/1.png"))


def test_the_camera_is_classified_until_it_is_stopped(visit: Any) -> None:
    page = visit(permissions=["camera"])
    page.get_by_role("button", name="Start camera").click()
    api.expect(page.locator("#answers li")).to_have_count(3)
    api.expect(page.locator("#time")).not_to_have_text(page.inner_text("#time"))
    page.get_by_role("button", name="Stop camera", pressed=True).click()
    assert page.is_hidden("video")
    assert page.is_visible("#empty")


def test_the_precision_is_switched_with_the_keyboard_alone(visit: Any, bundle: Path) -> None:
    page = visit()
    page.on("filechooser", lambda chooser: chooser.set_files(bundle / "golden/0.png"))
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "choose":
            break
    page.keyboard.press("Enter")
    expect_answers(page, python_answers(bundle, "float32", bundle / "golden/0.png"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "float32"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.value") == "weights8"
    assert page.is_checked("input[value=weights8]")


def test_everything_has_a_name(visit: Any, bundle: Path) -> None:
    page = visit()
    for role, name in (
        ("button", "Start camera"),
        ("button", "Choose picture"),
        ("radio", re.compile(r"^Float 32 [0-9.]+ MB$")),
        ("radio", re.compile(r"^Int 8 [0-9.]+ MB$")),
        ("radio", "Int 8 weights"),
        ("group", "Numbers"),
        ("region", "Picture"),
        ("region", "What it shows"),
        ("list", "Best answers"),
        ("status", ""),
        ("heading", "mobilenet_v1_shallow_025"),
    ):
        assert page.get_by_role(role, name=name).count() == 1, (role, name)
    page.set_input_files("#file", bundle / "golden/0.png")
    expected = python_answers(bundle, "float32", bundle / "golden/0.png")
    expect_answers(page, expected)
    assert page.get_by_role("img", name="The picture 0.png").count() == 1
    assert page.get_by_role("status").inner_text().startswith(verdict(bundle, expected))


def test_it_opens_without_a_network(chromium: Any, bundle: Path) -> None:
    context = chromium.new_context()
    with running(ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(bundle)))) as server:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/web/")
        page.wait_for_selector(LOADED, state="attached")
        page.evaluate(CONTROLLED)
    page.reload()  # nobody answers any more
    page.wait_for_selector(LOADED, state="attached")
    page.set_input_files("#file", bundle / "golden/2.png")
    expect_answers(page, python_answers(bundle, "float32", bundle / "golden/2.png"))
    context.close()


def test_it_can_be_installed(visit: Any) -> None:
    page = visit()
    session = page.context.new_cdp_session(page)
    assert session.send("Page.getAppManifest")["errors"] == []
    page.evaluate(CONTROLLED)
    found = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [error["errorId"] for error in found] in ([], ["in-incognito"])


def test_threads_are_used_where_the_page_is_isolated(visit: Any, bundle: Path) -> None:
    with running(ThreadingHTTPServer(("127.0.0.1", 0), partial(Isolated, directory=str(bundle)))) as server:
        page = visit(f"http://127.0.0.1:{server.server_port}/web/")
        cores = page.evaluate("Math.min(4, navigator.hardwareConcurrency)")
        assert page.inner_text("#device") == f"WASM, {cores} thread{'s' * (cores > 1)}"
        page.set_input_files("#file", bundle / "golden/0.png")
        expect_answers(page, python_answers(bundle, "float32", bundle / "golden/0.png"))


def test_webgpu_takes_the_float_network(chromium: Any, site: str, bundle: Path) -> None:
    software = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    browser = chromium.browser_type.launch(executable_path=PROGRAM, args=software)
    page = browser.new_page()
    page.goto(site + "web/")
    if not page.evaluate("navigator.gpu?.requestAdapter().then((adapter) => adapter !== null)"):
        pytest.skip("this Chromium has no WebGPU, not even in software")
    page.wait_for_selector(LOADED, state="attached", timeout=120_000)
    assert page.inner_text("#device") == "WebGPU"
    page.set_input_files("#file", bundle / "golden/0.png")
    expect_answers(page, python_answers(bundle, "float32", bundle / "golden/0.png"))
    page.check("input[value=weights8]", force=True)
    expect_answers(page, python_answers(bundle, "weights8", bundle / "golden/0.png"))
    assert page.inner_text("#device") == "WebGPU"
    page.check("input[value=int8]", force=True)
    api.expect(page.locator("#device")).to_have_text("WASM, 1 thread")
    browser.close()


@pytest.mark.parametrize("tampered", [False, True])
def test_a_cdn_is_held_to_its_hashes(
    tampered: bool, chromium: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = fetched()
    assert library is not None
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    shutil.copytree(bundle / "web/float32", tmp_path / "web/float32")
    write_page(tmp_path / "web", json.loads((bundle / "bundle.json").read_text(encoding="utf-8")))

    def answer(route: Any) -> None:
        (part,) = (part for part in PARTS["wasm"] if route.request.url == CDN + part.source)
        kind = "text/javascript" if part.source.endswith("mjs") else "application/wasm"
        body = (library / part.name).read_bytes() + b"\n" * tampered
        route.fulfill(body=body, headers={"Content-Type": kind, "Access-Control-Allow-Origin": "*"})

    context = chromium.new_context(service_workers="block")
    context.route(CDN + "*", answer)
    page = context.new_page()
    with running(ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))) as server:
        page.goto(f"http://127.0.0.1:{server.server_port}/web/")
        if tampered:
            page.wait_for_selector("#problem")
            assert page.get_by_role("alert").inner_text().startswith("The network could not be opened")
        else:
            page.wait_for_selector(LOADED, state="attached")
            page.set_input_files("#file", bundle / "golden/0.png")
            expect_answers(page, python_answers(bundle, "float32", bundle / "golden/0.png"))
        context.close()


def test_files_that_are_no_pictures_are_named(visit: Any, tmp_path: Path) -> None:
    page = visit()
    (tmp_path / "notes.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "notes.png")
    page.wait_for_selector("#problem")
    assert page.get_by_role("alert").inner_text() == "notes.png is not a picture that this browser can open."


def test_scores_below_the_threshold_are_unknown(visit: Any) -> None:
    code = """async ([temperature, threshold]) => {
        const { isUnknown, ranked } = await import("./model.js");
        const page = { labels: ["a", "b"], decision: { temperature, threshold } };
        const answers = ranked([1, 3], page);
        return [answers.map(({ label, score }) => [label, score]), isUnknown(answers[0], page)];
    }"""
    page = visit()
    score = 1 / (1 + np.exp(-1))  # a temperature of 2 halves the difference of the logits
    for threshold, unknown in ((None, False), (0.7, False), (0.74, True)):
        (best, _), answer = page.evaluate(code, [2, threshold])
        assert best == ["b", pytest.approx(score)]
        assert answer is unknown


def test_pictures_are_resized_and_cropped_as_in_python(visit: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    files = []
    for height, width in SIDES:
        small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        files.append(cv2.imencode(".png", picture)[1].tobytes())
    holes = rng.integers(0, 256, (40, 40, 4), dtype=np.uint8)
    holes[:, :, 3] = 255 * (holes[:, :, 3] > 127)
    files.append(cv2.imencode(".png", holes)[1].tobytes())
    contracts, expected = [], []
    for resize in ("shortest", "squash", "central"):
        for interpolation in ("area_linear", "bilinear", "bicubic"):
            preprocessing = Preprocessing(resolution=32, crop_fraction=0.8, resize=resize, interpolation=interpolation)
            contracts.append(preprocessing_contract(preprocessing))
            expected.append([resize_and_crop(decode_image(file), preprocessing) for file in files])
    code = """async ([encoded, contracts]) => {
        const { pixelsOfFile } = await import("./picture.js");
        const { prepare } = await import("./preprocess.js");
        const text = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        const bytes = encoded.map((file) => Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0)));
        const pictures = await Promise.all(bytes.map((file) => pixelsOfFile(new Blob([file], { type: "image/png" }))));
        return contracts.map((contract) => pictures.map((picture) => text(prepare(picture, contract))));
    }"""
    found = visit().evaluate(code, [[base64.b64encode(file).decode() for file in files], contracts])
    for contract, rows, wanted in zip(contracts, found, expected):
        for row, ours in zip(rows, wanted):
            theirs = np.frombuffer(base64.b64decode(row), np.uint8).reshape(ours.shape)
            off = np.abs(theirs.astype(int) - ours.astype(int))
            assert off.max() <= 1, (contract, ours.shape)
            assert (off > 0).mean() <= 0.05, contract  # sums that end on a half are rounded either way


def test_the_example_answers_as_python_does(visit: Any, bundle: Path) -> None:
    assert len((bundle / "examples/web/classify.js").read_text().splitlines()) < 40
    importmap = json.dumps({"imports": {"onnxruntime-web": "./web/runtime/ort.wasm.js"}})
    (bundle / "example.html").write_text(
        f'<link rel="icon" href="data:,"><script type="importmap">{importmap}</script><script type="module">'
        'import {classify} from "./examples/web/classify.js"; window.classify = classify;'
        "document.documentElement.dataset.ready = 1;</script>"
    )
    page = visit("example.html")
    code = "async (path) => classify(await (await fetch(path)).blob())"
    found = page.evaluate(code, "golden/0.png")
    expected = python_answers(bundle, "float32", bundle / "golden/0.png")
    (row,) = predict(bundle, [bundle / "golden/0.png"])
    expected = [("unknown", expected[0][1]), *expected] if row["unknown"] else expected
    assert [(row["label"], f"{100 * row['score']:.1f} %") for row in found] == expected
