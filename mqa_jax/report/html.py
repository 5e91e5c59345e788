"""A report's Markdown as one HTML file that fetches nothing: pictures inside it, tables that scroll and sort, light and
dark."""

import base64
import hashlib
import html
import mimetypes
import pathlib
import re
import string
import urllib.parse
from collections.abc import Iterable, Mapping

from markdown_it import MarkdownIt

from mqa_jax import files
from mqa_jax.errors import InputError
from mqa_jax.report.table import code, escape


def write(folder: pathlib.Path, name: str, title: str, parts: Iterable[str]) -> pathlib.Path:
    """Writes NAME.md and NAME.html: the title and the parts under it, those that are not empty.

    Args:
      folder: where the pictures lie too.
      title: plain text.
      parts: Markdown.
    Returns:
      The path of NAME.html, which needs no other file.
    """
    text = "\n\n".join(filter(None, (f"# {escape(title)}", *parts))) + "\n"
    files.write(folder / f"{name}.md", text)
    return files.write(folder / f"{name}.html", render(text, title, folder))


def items(texts: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {text}" for text in texts)


def facts(found: Mapping[str, str]) -> str:
    """A list of named texts, shown as code where they are typed: commits and commands."""
    shown = {name: (code if name.startswith(("Commit", "Command")) else escape)(text) for name, text in found.items()}
    return items(f"**{escape(name)}**: {text}" for name, text in shown.items())


def render(markdown: str, title: str, folder: pathlib.Path) -> str:
    """An HTML file of Markdown whose pictures lie in `folder`. HTML within the Markdown is shown as text.

    A heading right above a table names it. Pictures of other places than `folder` are left to the reader's browser.

    Raises:
      InputError: a picture is not in `folder`.
    """

    def picture(found: re.Match[str]) -> str:
        if "://" in found[1]:
            return found[0]
        path = folder / urllib.parse.unquote(found[1])
        if not path.is_file():
            raise InputError(f"{title}: there is no picture {path}; make it, or take it out of the page")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return f'<img src="data:{mimetypes.guess_type(path.name)[0]};base64,{data}"'

    def table(found: re.Match[str]) -> str:
        name = html.escape(html.unescape(re.sub("<.*?>", "", found[2] or "")) or title)
        return f'{found[1] or ""}\n<div class="wide" role="region" aria-label="{name}" tabindex="0">\n<table>'

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r'<img src="(.*?)"', picture, body)
    body = re.sub(r"<h2>(.*)</h2>", lambda found: f'<h2 id="{anchor(found[1])}">{found[1]}</h2>', body)
    body = re.sub(r"<tr>\n<td(.*?)>(.*)</td>", r'<tr>\n<th\1 scope="row">\2</th>', body)  # it names the row
    body = body.replace("<pre>", '<pre tabindex="0">')  # what scrolls must be reachable by keyboard, and a table named
    body = re.sub(r"(?:(<h[1-4].*?>(.*)</h[1-4]>)\n)?<table>", table, body).replace("</table>", "</table>\n</div>")
    digest = base64.b64encode(hashlib.sha256(_SORT.encode()).digest()).decode()  # no other script may run
    return _PAGE.substitute(title=html.escape(title), body=body, script=_SORT, digest=digest)


def anchor(heading: str) -> str:
    """What a link to a heading names: as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# A click on a column's header sorts by it, a second one the other way round. What is missing stays last.
_SORT = r"""
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const down = head.ariaSort === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      const number = (row) => parseFloat(text(row).replace(/[,\u2264\s]/g, "").replace("\u2212", "-"));
      const missing = (row) => ["", "\u2013", "baseline"].includes(text(row));
      const rows = [...body.rows], there = rows.filter((row) => !missing(row));
      const compare = there.some((row) => isNaN(number(row)))
        ? (a, b) => text(a).localeCompare(text(b), "en", { numeric: true })
        : (a, b) => number(a) - number(b);
      there.sort((a, b) => (down ? -1 : 1) * compare(a, b));
      body.append(...there, ...rows.filter(missing));
    };
  });
}
"""
_PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-$digest'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --text: light-dark(#1b1f24, #e3e6ea); --soft: light-dark(#57606a, #9aa4b0);
  --line: light-dark(#d6dae0, #353b43); --back: light-dark(#fff, #14171b); --shade: light-dark(#f5f6f8, #1d2126);
  --mark: light-dark(#b35900, #f0a04b); --link: light-dark(#0b5cad, #79b8ff); --more: light-dark(#0004, #fff4) }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 70rem; color: var(--text); background: var(--back);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
p, ul, blockquote { max-width: 52rem }
h1 { font-size: 1.6rem; line-height: 1.25 }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line) }
h3, h4 { font-size: 1rem; margin: 1.75rem 0 .5rem }
ul { padding-left: 1.2rem }
li + li { margin-top: .4rem }
a { color: var(--link) }
h1 + p:not(:has(img)), h1 + ul { font-size: 1.15rem }
/* A shadow at the side where a table goes on; what is painted over it moves with the table. */
.wide { overflow-x: auto; scrollbar-width: thin; background:
  linear-gradient(to right, var(--back) 40%, transparent) left / 2.5rem 100% no-repeat local,
  linear-gradient(to left, var(--back) 40%, transparent) right / 2.5rem 100% no-repeat local,
  linear-gradient(to right, var(--more), transparent) left / .75rem 100% no-repeat,
  linear-gradient(to left, var(--more), transparent) right / .75rem 100% no-repeat }
.wide + p { margin: .5rem 0 0; font-size: .875rem; color: var(--soft) }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .65rem; white-space: nowrap; text-align: left }
thead th { vertical-align: bottom; white-space: normal; text-wrap: balance; color: var(--soft) }
thead button { font: inherit; color: inherit; text-align: inherit; padding: 0; border: 0; background: none;
  cursor: pointer }
[aria-sort=ascending] button::after { content: " \\2191" }
[aria-sort=descending] button::after { content: " \\2193" }
tbody th { font-weight: 500; vertical-align: top }
@media (max-width: 40rem) { th, td { padding: .35rem .4rem } }
td { vertical-align: top }
td[style*=left] { white-space: normal; min-width: 15rem; max-width: 26rem }
th:first-child { position: sticky; left: 0; background: var(--back) }
tbody tr > * { border-top: 1px solid var(--line) }
blockquote { margin: 1rem 0; padding: .1rem .9rem; border-left: .25rem solid var(--mark); background: var(--shade) }
code { font-size: .85em; overflow-wrap: anywhere }
pre { overflow-x: auto; padding: .6rem .9rem; background: var(--shade) }
pre code { overflow-wrap: normal }
p:has(img) { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem;
  max-width: none }
img { display: block; width: 100%; max-width: 34rem; height: auto }
</style>
</head>
<body>
$body<script>$script</script>
</body>
</html>
""")
