"""The report in a real browser: no errors, plots drawn, nothing wider than a phone, the switch switches."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report.examples import banking_record, example_record, small_record

from tunelab.records import PlannedRun, StudyRecord
from tunelab.report import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# A browser's window has a least width, a frame has not: each page is opened in frames of the wanted widths, and
# what is seen there is written into the outer page, which --dump-dom prints.
HARNESS = """<!doctype html><meta charset="utf-8"><body>{frames}<pre id="seen"></pre><script>
addEventListener("load", function () {{
  function visible(page, language) {{
    return Array.from(page.querySelectorAll("body [lang=" + language + "]")).filter(function (e) {{
      return getComputedStyle(e).display !== "none";
    }}).length;
  }}
  var seen = Array.from(document.querySelectorAll("iframe")).map(function (frame) {{
    var page = frame.contentDocument, root = page.documentElement, box = root.getBoundingClientRect();
    var found = {{
      page: frame.title, width: root.clientWidth, scroll: root.scrollWidth,
      wide: Array.from(page.querySelectorAll("section p, section h2, figure, article, .verdict, dl, nav")).filter(
        function (e) {{ var b = e.getBoundingClientRect(); return b.width && b.right > box.right + 1; }}
      ).map(function (e) {{ return e.className || e.tagName; }}),
      marks: page.querySelectorAll("svg.plot circle, svg.plot path").length,
      astray: Array.from(page.querySelectorAll("svg.plot circle, svg.plot path, svg.plot text")).filter(function (e) {{
        var own = e.getBoundingClientRect(), all = e.ownerSVGElement.getBoundingClientRect();
        return all.width && (own.left < all.left - 2 || own.right > all.right + 2 || own.top < all.top - 2 || own.bottom > all.bottom + 2);
      }}).map(function (e) {{ return e.outerHTML; }}),
      plots: Array.from(page.querySelectorAll("svg.plot")).filter(function (e) {{ return e.clientWidth; }}).length,
      limits: Array.from(page.querySelectorAll(".meter b")).map(function (e) {{
        var own = e.getBoundingClientRect(), all = e.parentElement.getBoundingClientRect();
        return own.width && own.left >= all.left - 1 && own.right <= all.right + 1;
      }}).filter(Boolean).length,
      panels: Array.from(page.querySelectorAll(".panel")).filter(function (e) {{ return e.clientWidth; }}).length,
      english: visible(page, "en"), chinese: visible(page, "zh-CN")
    }};
    page.querySelector("button[data-language=zh]").click();
    found.switched = [visible(page, "en"), visible(page, "zh-CN"), page.querySelector("svg.plot").getAttribute("aria-label")];
    found.scroll_zh = root.scrollWidth;
    return found;
  }});
  document.getElementById("seen").textContent = JSON.stringify(seen);
}});
</script>"""


def browse(path: Path) -> tuple[str, list[str]]:
    """The page after its scripts, and what it wrote to the console."""
    assert CHROMIUM is not None
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--window-size=1400,900",
    ]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *flags, profile, "--dump-dom", path.as_uri()], capture_output=True, timeout=120, check=True
    )
    errors = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    return done.stdout.decode(), errors


def narrow_record() -> StudyRecord:
    """Memory of all runs is so alike that the lines of 20 % lie outside its plot."""
    runs = [
        PlannedRun(
            run=f"head-s{i}-f0",
            name="head",
            kind="judged",
            predicted_seconds=1.2 + 0.3 * i,
            predicted_memory_bytes=520e6 + 20e6 * i,
            seconds=1.3 + 0.3 * i,
            memory_bytes=515e6 + 30e6 * i,
        )
        for i in range(2)
    ]
    return small_record().model_copy(update={"plan": tuple(runs)})


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH")
def test_in_a_browser(tmp_path: Path) -> None:
    pages = {"rich": example_record(), "small": narrow_record(), "banking": banking_record()}
    frames = [
        f'<iframe title="{name}" style="border:0;width:{width}px;height:800px" '
        f'srcdoc="{html.escape(render(record))}"></iframe>'
        for name, record in pages.items()
        for width in (1280, 390, 360)
    ]
    path = tmp_path / "frames.html"
    path.write_text(HARNESS.format(frames="".join(frames)), encoding="utf-8")
    dom, errors = browse(path)
    assert not errors
    found = re.search(r'<pre id="seen">(.+?)</pre>', dom, re.DOTALL)
    assert found is not None
    seen = json.loads(html.unescape(found[1]))
    assert len(seen) == 9
    for page in seen:
        assert page["scroll"] <= page["width"], page
        assert page["scroll_zh"] <= page["width"], page
        assert not page["wide"], page
        assert not page["astray"], "a mark lies outside its plot"
        assert page["panels"] == 1, "one method's errors are shown, the advised one's"
        assert page["english"] > 90
        assert page["chinese"] == 0
        assert page["switched"][0] == 0
        assert page["switched"][1] > 90
        assert re.search("[一-鿿]", page["switched"][2])
    marks = {page["page"]: page["marks"] for page in seen}
    plots = {page["page"]: page["plots"] for page in seen}
    assert plots["rich"] == 3 + 1 + 15 + 2 + 2  # costs, curves, tuning, errors of one method, plan
    assert plots["small"] == 2 + 2  # and the plan
    limits = {page["page"]: page["limits"] for page in seen}
    assert limits == {"rich": 3, "small": 0, "banking": 20}, "intervals of F1 of the method that is shown"
    assert marks["rich"] > 15 * 2 + 15 * 5 + 2 * 90
    assert marks["banking"] > 15 * 2 + 15 * 50


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH")
def test_the_file_itself_opens_without_a_complaint(tmp_path: Path) -> None:
    """As a user opens it, its own content security policy in force."""
    path = tmp_path / "report.html"
    path.write_text(render(example_record(), "zh"), encoding="utf-8")
    dom, errors = browse(path)
    assert not errors
    assert re.search(r'<html lang="zh-CN" class="js"', dom)
