"""How files and commands reach a device: `adb` or `ssh` and `scp`, the programs that the user has."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...errors import UserError

PATIENCE = 60.0  # seconds for a short command
COPYING = 600.0  # seconds for a copy
ANDROID = "/data/local/tmp"  # where a shell on Android may write and run programs
_MARK = "mobilenets-status="  # adb of old devices loses the exit status of a command, so the shell prints it


@dataclass(frozen=True)
class Ended:
    """What a command on the device left: its status, and stdout and stderr together."""

    status: int
    said: str

    @property
    def last_words(self) -> str:
        """Its last line, or its status where it said nothing."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return lines[-1][:200] if lines else f"status {self.status}"


class Device(Protocol):
    """A machine that can be reached."""

    @property
    def name(self) -> str:
        """As the user gave it."""

    def shell(self, command: str, seconds: float = PATIENCE) -> Ended:
        """Runs a command line of the POSIX shell there. Raises UserError when the device cannot be reached or hangs."""

    def copy(self, file: Path, to: str) -> None:
        """Copies a file there. Raises UserError when that fails."""

    def new_folder(self) -> str:
        """A new folder there, from which programs may run."""


@dataclass(frozen=True)
class Adb:
    """An Android device by its serial number, as `adb devices` lists it."""

    serial: str

    @property
    def name(self) -> str:
        return f"adb:{self.serial}"

    def shell(self, command: str, seconds: float = PATIENCE) -> Ended:
        return _marked(self.name, ["adb", "-s", self.serial, "shell"], command, seconds)

    def copy(self, file: Path, to: str) -> None:
        _copied(self.name, file, _run(self.name, ["adb", "-s", self.serial, "push", str(file), to], COPYING))

    def new_folder(self) -> str:
        return _made(self, f"mktemp -d {ANDROID}/mobilenets.XXXXXX")


@dataclass(frozen=True)
class Ssh:
    """A machine that `ssh HOST` reaches without asking anything."""

    host: str

    @property
    def name(self) -> str:
        return f"ssh:{self.host}"

    def shell(self, command: str, seconds: float = PATIENCE) -> Ended:
        return _marked(self.name, ["ssh", *_QUIETLY, self.host], command, seconds)

    def copy(self, file: Path, to: str) -> None:
        _copied(self.name, file, _run(self.name, ["scp", "-q", *_QUIETLY, str(file), f"{self.host}:{to}"], COPYING))

    def new_folder(self) -> str:
        return _made(self, "mktemp -d /tmp/mobilenets.XXXXXX")


_QUIETLY = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10")


def device_of(reference: str) -> Device:
    """The device that `adb:SERIAL` or `ssh:HOST` means. Raises UserError for anything else."""
    kind, _, where = reference.partition(":")
    if kind not in ("adb", "ssh") or not where or where.startswith("-") or where.split() != [where]:
        raise UserError(f"device {reference!r} is not possible; allowed: adb:SERIAL or ssh:HOST")
    return Adb(where) if kind == "adb" else Ssh(where)


@contextmanager
def folder_on(device: Device) -> Iterator[str]:
    """A new folder on the device, removed when the block is left."""
    folder = device.new_folder()
    try:
        yield folder
    finally:
        with suppress(UserError):  # a device that has gone has said so already
            device.shell(f"rm -rf {shlex.quote(folder)}")


def _made(device: Device, command: str) -> str:
    ended = device.shell(command)
    folder = ended.last_words
    if ended.status or not folder.startswith("/"):
        raise UserError(f"{device.name}: no folder could be made there ({ended.last_words})")
    return folder


def _marked(name: str, reach: Sequence[str], command: str, seconds: float) -> Ended:
    """Runs a command there; told from a connection that failed by the status that the shell there prints last."""
    ended = _run(name, [*reach, f"({command}) 2>&1; echo {_MARK}$?"], seconds)
    said, marked, status = ended.said.replace("\r\n", "\n").rpartition(_MARK)
    if not marked or not status.strip().isdecimal():
        raise UserError(f"{name}: not reached ({ended.last_words})")
    return Ended(int(status), said)


def _copied(name: str, file: Path, ended: Ended) -> None:
    if ended.status:
        raise UserError(f"{name}: {file} could not be copied there ({ended.last_words})")


def _run(name: str, command: Sequence[str], seconds: float) -> Ended:
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds
        )
    except FileNotFoundError:
        raise UserError(f"{name}: the program {command[0]} is not on this machine's PATH") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{name}: no answer within {seconds:.0f} s") from None
    return Ended(ended.returncode, ended.stdout.decode(errors="replace"))
