"""A report's Markdown as one HTML file that fetches nothing: pictures inside it, tables that scroll, light and dark."""

import base64
import html
import pathlib
import re
import string

from markdown_it import MarkdownIt
from markdown_it.token import Token


def render(markdown: str, title: str, folder: pathlib.Path) -> str:
    """An HTML file of Markdown whose pictures lie in `folder`. HTML within the Markdown is shown as text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens: list[Token] = []
    parsed = parser.parse(markdown)
    for place, token in enumerate(parsed):
        for child in token.children or ():
            if child.type == "image":
                data = base64.b64encode((folder / str(child.attrs["src"])).read_bytes()).decode("ascii")
                child.attrs["src"] = f"data:image/svg+xml;base64,{data}"
        if token.tag == "h2" and token.nesting > 0:
            token.attrs["id"] = anchor(parsed[place + 1].content)
        if token.type == "table_open":
            # What scrolls must be reachable by keyboard and have a name: that of the heading above.
            name = html.escape("".join(child.content for child in parsed[place - 2].children or ()))
            region = f'<div class="wide" role="region" aria-label="{name}" tabindex="0">\n'
            tokens.append(Token("html_block", "", 0, content=region))
        if token.type == "td_open" and parsed[place - 1].type == "tr_open":
            token.tag = parsed[place + 2].tag = "th"  # and its end: the first cell names the row
            token.attrs["scope"] = "row"
        tokens.append(token)
        if token.type == "table_close":
            tokens.append(Token("html_block", "", 0, content="</div>\n"))
    body = parser.renderer.render(tokens, parser.options, {})
    return _PAGE.substitute(title=html.escape(title), body=body)


def anchor(heading: str) -> str:
    """What a link to a heading names: as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


_PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark;
  --text: #1b1f24; --soft: #57606a; --line: #d6dae0; --back: #fff; --shade: #f5f6f8; --mark: #b35900;
  --link: #0b5cad; --more: #0004 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e6ea; --soft: #9aa4b0; --line: #353b43; --back: #14171b; --shade: #1d2126; --mark: #f0a04b;
    --link: #79b8ff; --more: #fff4 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 70rem; color: var(--text); background: var(--back);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
p, ul, blockquote { max-width: 52rem }
h1 { font-size: 1.6rem; line-height: 1.25 }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem }
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
th, td { padding: .35rem .65rem; white-space: nowrap }
thead th { vertical-align: bottom; white-space: normal; text-wrap: balance; color: var(--soft) }
tbody th { font-weight: 500; vertical-align: top }
@media (max-width: 40rem) { th, td { padding: .35rem .4rem } }
td { vertical-align: top }
td[style*=left] { white-space: normal; min-width: 15rem; max-width: 26rem }
th:first-child { position: sticky; left: 0; background: var(--back) }
tbody tr > * { border-top: 1px solid var(--line) }
blockquote { margin: 1rem 0; padding: .1rem .9rem; border-left: .25rem solid var(--mark); background: var(--shade) }
code { font-size: .85em; overflow-wrap: anywhere }
p:has(img) { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem;
  max-width: none }
img { display: block; width: 100%; max-width: 34rem; height: auto }
</style>
</head>
<body>
$body</body>
</html>
""")
