"""Public image sets by name: downloaded once, checked, laid out as class folders in the cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..cachefolder import cache_folder
from ..console import progress, say
from ..errors import UserError
from . import layouts
from .download import RemoteFile, alone, download

_TFDS = "https://storage.googleapis.com/download.tensorflow.org"


@dataclass(frozen=True)
class PublicSet:
    """A set that others publish; `lay_out` turns its `files`, in this order, into class folders."""

    name: str
    title: str
    homepage: str
    licence: str
    images: int
    files: tuple[RemoteFile, ...]
    lay_out: Callable[[list[Path]], layouts.Laid]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size or 0 for file in self.files)


# Sizes and SHA-256 as TensorFlow Datasets pins them (url_checksums/*.txt, datasets/*/checksums.tsv).
_SETS = (
    PublicSet(
        name="rock_paper_scissors",
        title="Rock, Paper, Scissors: rendered hands before white (Laurence Moroney, 2019)",
        homepage="http://laurencemoroney.com/rock-paper-scissors-dataset",
        licence="CC BY 2.0",
        images=2892,
        files=(
            RemoteFile(
                f"{_TFDS}/data/rps.zip",
                200_682_221,
                "c2403444395842ad04c53612bad54b574443eae17a0723117a2ff87b9d72194f",
            ),
            RemoteFile(
                f"{_TFDS}/data/rps-test-set.zip",
                29_516_758,
                "c27ab9fa43ce40b2e453de711365b477f4424586edf0388116674fd320f07503",
            ),
        ),
        lay_out=layouts.rock_paper_scissors,
    ),
    PublicSet(
        name="cifar10",
        title="CIFAR-10: 32 x 32 photos of ten classes (Krizhevsky, 2009)",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="not stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        images=60_000,
        files=(
            RemoteFile(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        lay_out=layouts.cifar10,
    ),
    PublicSet(
        name="oxford_iiit_pet",
        title="Oxford-IIIT Pet: 37 breeds of cats and dogs (Parkhi et al., 2012)",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        licence="CC BY-SA 4.0",
        images=7349,
        files=(
            RemoteFile(
                "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz",
                791_918_971,
                "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
            ),
            RemoteFile(
                "https://thor.robots.ox.ac.uk/~vgg/data/pets/annotations.tar.gz",
                19_173_078,
                "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
            ),
        ),
        lay_out=layouts.oxford_iiit_pet,
    ),
    PublicSet(
        name="stanford_dogs",
        title="Stanford Dogs: 120 breeds, photos of ImageNet (Khosla et al., 2011)",
        homepage="http://vision.stanford.edu/aditya86/ImageNetDogs/",
        licence="ImageNet's terms: non-commercial research and education; rights with the photographers",
        images=20_580,
        files=(
            RemoteFile(
                "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",
                793_579_520,
                "a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
            ),
            RemoteFile(
                "http://vision.stanford.edu/aditya86/ImageNetDogs/lists.tar",
                481_280,
                "34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
            ),
        ),
        lay_out=layouts.stanford_dogs,
    ),
    # The five flowers of TensorFlow's tutorials, not Oxford's 102: those keep their labels in MATLAB files.
    PublicSet(
        name="flowers",
        title="Flower photos: daisy, dandelion, roses, sunflowers, tulips (TensorFlow, 2019)",
        homepage="https://www.tensorflow.org/datasets/catalog/tf_flowers",
        licence="CC BY 2.0, photographers in LICENSE.txt",
        images=3670,
        files=(
            RemoteFile(
                f"{_TFDS}/example_images/flower_photos.tgz",
                228_813_984,
                "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
            ),
        ),
        lay_out=layouts.flowers,
    ),
)
PUBLIC_SETS: dict[str, PublicSet] = {entry.name: entry for entry in _SETS}


def fetch(name: str) -> Path:
    """The folder of class folders of the public set `name`, in the cache; downloaded and laid out on the first call.

    The folder appears complete or not at all, with ORIGIN.txt in it; the archives are removed afterwards. What has been
    downloaded is kept when anything fails, and the next call goes on from there. Raises UserError, one line, for an
    unknown name and for every failure of the download.
    """
    if name not in PUBLIC_SETS:
        raise UserError(f"{name!r} is no public set; these are: {', '.join(PUBLIC_SETS)}")
    entry = PUBLIC_SETS[name]
    folder = cache_folder() / "public" / name
    if folder.is_dir():
        return folder
    downloads = cache_folder() / "downloads"
    with alone(downloads / f"{name}.lock"):
        if folder.is_dir():  # another process was quicker
            return folder
        say(f"{entry.title}: {entry.size / 1e6:.0f} MB from {entry.homepage}; licence: {entry.licence}")
        archives = [download(file, downloads) for file in entry.files]
        _lay_out(entry, archives, folder)
        for archive in archives:
            archive.unlink(missing_ok=True)
    return folder


def _lay_out(entry: PublicSet, archives: list[Path], folder: Path) -> None:
    """Writes the set beside its place and moves it there when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{entry.name}-"))
    try:
        with progress() as bar:
            task = bar.add_task(f"unpacking {entry.name}", total=entry.images, note="")
            for name, data in entry.lay_out(archives):
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                bar.advance(task)
        origin = [entry.title, f"Source: {entry.homepage}", f"Licence: {entry.licence}"]
        origin += [f"File: {file.url} ({file.size} bytes, SHA-256 {file.sha256})" for file in entry.files]
        (temporary / "ORIGIN.txt").write_text("\n".join(origin) + "\n", encoding="utf-8")
        os.chmod(temporary, 0o755)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
