"""Finds the Orthanc to run, or installs one into the cache: a Debian whose /usr takes the place of ours."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .errors import LaunchError
from .machine import CHECKOUT, cache_folder, ensure_tools, last_error, locked, need_root, run, say

SUITES = {"1.12": "trixie", "1.13": "sid"}
OLDEST = (1, 12, 7)
_PACKAGES = (
    "ca-certificates",
    "orthanc",
    "orthanc-python",
    "orthanc-dicomweb",
    "orthanc-gdcm",
    "orthanc-postgresql",
)
_PYTHON_PLUGIN = "libOrthancPython.so"
_PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc", "/usr/local/share/orthanc/plugins")


@dataclass(frozen=True)
class Installation:
    """An Orthanc that can be started. Paths are as Orthanc itself will see them."""

    root: Path | None
    """The cached Debian whose /usr is mounted over ours for this Orthanc alone; None: one of the machine."""
    binary: Path
    plugin_folders: tuple[Path, ...]
    python: str
    """Version of the Python inside Orthanc, as "3.13"."""

    def here(self, path: Path) -> Path:
        """Where this process finds the file that Orthanc will find at `path`."""
        if self.root is not None and path.is_relative_to("/usr"):
            return self.root / path.relative_to("/")
        return path

    def plugin(self, name: str) -> Path | None:
        """The plugin library `name`, if it is installed."""
        return next(
            (folder / name for folder in self.plugin_folders if self.here(folder / name).exists()), None
        )


def choose(wanted: str) -> Installation:
    """The Orthanc for `--orthanc`: `auto`, a version of the cache (installed first if need be), or a path.

    Raises LaunchError: no such Orthanc, too old, without its Python plugin, or not installable.
    """
    if wanted in SUITES:
        return cached(wanted)
    if wanted != "auto":
        return on_this_machine(_binary_at(Path(wanted).expanduser().absolute()))
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    if found := shutil.which("Orthanc", path=path):
        try:
            return on_this_machine(Path(found))
        except LaunchError as error:
            say(f"note: {error.what}: using Orthanc 1.12 from the cache instead")
    return cached("1.12")


def _binary_at(path: Path) -> Path:
    candidates = [path] + [
        path / below for below in ("Orthanc", "usr/sbin/Orthanc", "sbin/Orthanc", "bin/Orthanc")
    ]
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise LaunchError(
        f"there is no Orthanc at {path}",
        "give auto, 1.12, 1.13, the path of an Orthanc executable, or the folder that contains it",
    )


def on_this_machine(binary: Path) -> Installation:
    """An Orthanc of the machine. Raises LaunchError: does not run, is too old, or lacks a plugin we need."""
    version = version_of(binary)
    if version < OLDEST:
        raise LaunchError(
            f"{binary} is Orthanc {'.'.join(map(str, version))}, older than {'.'.join(map(str, OLDEST))}",
            "install a newer one, or use --orthanc 1.12",
        )
    near = binary.parent
    folders = [near, near / "plugins", near / "../share/orthanc/plugins", *map(Path, _PLUGIN_FOLDERS)]
    folders = [folder.resolve() for folder in folders]
    library = next(
        (folder / _PYTHON_PLUGIN for folder in folders if (folder / _PYTHON_PLUGIN).exists()), None
    )
    if library is None:
        raise LaunchError(
            f"Orthanc at {binary} has no Python plugin ({_PYTHON_PLUGIN})",
            "install it (Debian: apt-get install orthanc-python), or use --orthanc 1.12",
        )
    # Plugins of the same build lie together, so the folder with the Python plugin comes first.
    ordered = (library.parent, *(folder for folder in folders if folder != library.parent))
    installation = Installation(None, binary, ordered, _linked_python(library))
    if installation.plugin("libOrthancDicomWeb.so") is None:
        raise LaunchError(
            f"Orthanc at {binary} has no DICOMweb plugin (libOrthancDicomWeb.so)",
            "install it (Debian: apt-get install orthanc-dicomweb), or use --orthanc 1.12",
        )
    return installation


def version_of(binary: Path) -> tuple[int, ...]:
    """What `Orthanc --version` says, as numbers; a development build (mainline) counts as newest."""
    try:
        done = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(
            f"{binary} does not run ({error})", "give a working Orthanc, or use --orthanc 1.12"
        ) from error
    first = (done.stdout.splitlines() or [""])[0]
    if match := re.search(r"(\d+)\.(\d+)\.(\d+)", first):
        return tuple(int(part) for part in match.groups())
    if "mainline" in first:
        return (sys.maxsize,)
    why = last_error(done.stderr or done.stdout)
    raise LaunchError(
        f"{binary} --version gives no version ({why})", "give a working Orthanc, or use --orthanc 1.12"
    )


def _linked_python(library: Path) -> str:
    done = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=False)
    match = re.search(r"libpython(3\.\d+)", done.stdout)
    if match is None:
        raise LaunchError(
            f"{library} is linked to no Python 3", "install the Python plugin again, or use --orthanc 1.12"
        )
    return match.group(1)


def cached(name: str) -> Installation:
    """The cached Orthanc `1.12` or `1.13`, installed first if it is missing. Raises LaunchError."""
    need_root(f"Orthanc {name} from the cache (a private mount)")
    ensure_tools({"unshare": "util-linux", "mount": "mount"})
    root = cache_folder() / f"orthanc-{name}"
    if not root.exists():
        _install(name, root)
    libraries = [file.name for file in (root / "usr/lib").glob("*/libpython3.*.so*")]
    versions = {match.group(1) for file in libraries if (match := re.match(r"libpython(3\.\d+)\.so", file))}
    if len(versions) != 1 or not (root / "usr/sbin/Orthanc").exists():
        raise LaunchError(
            f"the cached Orthanc in {root} is damaged", f"remove it (rm -r {root}) and start again"
        )
    return Installation(
        root, Path("/usr/sbin/Orthanc"), (Path("/usr/share/orthanc/plugins"),), versions.pop()
    )


def _install(name: str, root: Path) -> None:
    """Makes `root` by debootstrap, in a sibling folder first: what has the final name is complete."""
    ensure_tools({"debootstrap": "debootstrap"})
    with locked(
        root.with_suffix(f"{root.suffix}.lock"), f"waiting for another start that installs Orthanc {name} ..."
    ):
        if root.exists():
            return
        building = root.with_suffix(f"{root.suffix}.building")
        _discard(building)
        say(f"installing Orthanc {name} into {root} (once, about a minute) ...")
        # Mounts and processes of debootstrap stay in namespaces of their own: interrupted, it leaves none.
        isolated = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        include = "--include=" + ",".join(_PACKAGES)
        env = dict(os.environ, PATH=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin", LC_ALL="C.UTF-8")
        command = [*isolated, "debootstrap", "--variant=minbase", include, SUITES[name], str(building)]
        try:
            status, output = run(command, env)
        except BaseException:
            _discard(building)
            raise
        if status != 0:
            _discard(building)
            raise LaunchError(
                f"debootstrap cannot install Orthanc {name} ({last_error(output)})",
                "check the network, and that this machine may mount (in a container: capability SYS_ADMIN), "
                "then start again; or install Orthanc and use --orthanc PATH",
            )
        # 400 MB of package files that are unpacked already.
        _discard(building / "var/cache/apt/archives")
        building.rename(root)


def _discard(folder: Path) -> None:
    # --one-file-system: never follow a mount out of the folder.
    if folder.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)


def site_packages(python: str) -> Path:
    """The folder with the package's dependencies for Orthanc's Python, installed first if need be.

    The folder's name carries a hash of the dependencies, so that a changed pyproject.toml gets a new one.
    Raises LaunchError when pip cannot install them.
    """
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        dependencies: list[str] = tomllib.load(file)["project"].get("dependencies", [])
    digest = hashlib.sha256(json.dumps(dependencies).encode()).hexdigest()[:12]
    folder = cache_folder() / f"site-{python}-{digest}"
    if folder.exists() or not dependencies:
        return folder
    with locked(
        cache_folder() / f"{folder.name}.lock", "waiting for another start that installs the packages ..."
    ):
        if folder.exists():
            return folder
        building = cache_folder() / f"{folder.name}.building"
        _discard(building)
        say(f"installing the Python {python} packages into {folder} ...")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(building)]
        status, output = run([*pip, "--python-version", python, "--only-binary=:all:", *dependencies])
        if status != 0:
            _discard(building)
            raise LaunchError(
                f"pip cannot install the packages for Python {python} ({last_error(output)})",
                "check the network and pip's configuration, then start again",
            )
        building.rename(folder)
    return folder
