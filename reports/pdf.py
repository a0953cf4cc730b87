"""A page as PDF, printed by the Chromium of this machine.

A browser draws the page as people saw it on the screen, running heads and page numbers included. WeasyPrint 70 was
tried on the audit page: it drops the colours of pictures that are CSS variables, ignores the rules for narrow screens
and needs Pango on every machine, so a dependency would buy no better page than the browser that is there anyway.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
TIMEOUT_SECONDS = 120


class NoBrowser(OSError):
    """There is no Chromium on this machine; the page can be printed from any other browser."""


def print_pdf(page: Path, output: Path) -> None:
    """Print a self-contained HTML page.

    Args:
        page: the HTML file; it needs no network, and gets none.
        output: the PDF to write, whole or not at all.

    Raises:
        NoBrowser: there is no Chromium.
        OSError: it printed nothing.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise NoBrowser(f"no PDF: there is no Chromium on this machine; open {page} in any browser and print it")
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch) / "page.pdf"
        options = [
            "--headless",
            "--disable-gpu",
            "--no-pdf-header-footer",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={scratch}/profile",
            f"--print-to-pdf={drawn}",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium has no sandbox for root
        ]
        command = [browser, *options, page.absolute().as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise OSError(f"no PDF: {browser} did not finish in {TIMEOUT_SECONDS} seconds") from None
        if not drawn.is_file():
            raise OSError(f"no PDF: {browser} printed nothing; open {page} in any browser and print it")
        shutil.copyfile(drawn, partial := output.with_name(f".{output.name}.partial"))
        partial.replace(output)
