"""A real headless browser that opens a page and says what it saw."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MEASURE = """<pre id="measured"></pre><script>
const cut = [...document.querySelectorAll("body *")].filter(e => e.scrollWidth > e.clientWidth + 1 &&
  getComputedStyle(e).display !== "inline" && !e.closest("svg, script")).map(e => e.outerHTML.slice(0, 200));
const outside = (r, picture) => r.right > picture.right + 1 || r.bottom > picture.bottom + 1 ||
  r.top < picture.top - 1 || r.left < picture.left - 1;
const strayed = [...document.querySelectorAll("svg text")].filter(t => outside(t.getBoundingClientRect(),
  t.closest("svg").getBoundingClientRect())).map(t => t.textContent);
document.getElementById("measured").textContent = JSON.stringify({cut, strayed,
  fetched: performance.getEntriesByType("resource").map(r => r.name),
  wide: document.documentElement.scrollWidth - innerWidth, rows: document.querySelectorAll("tr").length});
</script>"""


@pytest.fixture(scope="session")
def browse(tmp_path_factory):
    """Open a page at a width; return what the browser measured and what it said on its console."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")

    def open_page(page: str, *, width: int) -> tuple[dict, list[str]]:
        place = tmp_path_factory.mktemp("page") / "page.html"
        place.write_text(page.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--window-size={width},900",
        ]
        profile = f"--user-data-dir={place.parent / 'profile'}"
        done = subprocess.run(
            [CHROMIUM, *options, profile, "--dump-dom", place.as_uri()],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        measured = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
        return json.loads(unescape(measured[1])), re.findall(r".*CONSOLE.*", done.stderr)

    return open_page
