"""Remove from the store what no named experiment needs."""

import argparse
from pathlib import Path

from advdetect.errors import AdvdetectError
from advdetect.files.experiment import MANIFEST, STORE, store_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.epilog = "Without --yes it only says what would be removed, and how much that is."
    parser.add_argument("results", help="the folder that holds store/ and the experiments")
    parser.add_argument(
        "--keep",
        nargs="+",
        required=True,
        metavar="EXPERIMENT",
        help="names of finished experiments whose files are kept",
    )
    parser.add_argument("--yes", action="store_true", help="remove, after saying what")


def run(arguments: argparse.Namespace) -> None:
    """Say what is not needed; remove it if asked to."""
    results = Path(arguments.results)
    store = results / STORE
    if not store.is_dir():
        raise AdvdetectError(f"{results} holds no folder store: name the folder of the results.")
    needed: set[Path] = set()
    for name in arguments.keep:
        if not (results / name / MANIFEST).is_file():
            finished = sorted(path.parent.name for path in results.glob(f"*/{MANIFEST}"))
            raise AdvdetectError(
                f"--keep: {name} is no finished experiment of {results}; there are: "
                f"{', '.join(finished) or 'none'}."
            )
        needed |= set(store_files(results / name))
    # What was made with a needed file lies under its name, or in its folder if that is its own.
    kept = {name for path in needed for name in (path.with_suffix(""), own_folder(path)) if name}
    surplus = sorted(
        path
        for path in store.rglob("*")
        if path.is_file() and not {path.with_suffix(""), path.parent} & kept
    )
    size = sum(path.stat().st_size for path in surplus)
    for path in surplus:
        print(path.relative_to(store))
    print(f"{len(surplus)} files, {size / 1e6:.1f} MB, that {', '.join(arguments.keep)} need not.")
    if not arguments.yes:
        print("Nothing was removed; --yes removes them.")
        return
    for path in surplus:
        path.unlink(missing_ok=True)
    for folder in sorted((path for path in store.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    print("Removed.")


def own_folder(path: Path) -> Path | None:
    """Return the folder of a file that has one of its own, such as that of fitted detectors."""
    return path.parent if path.parent.parent.name == "detectors" else None
