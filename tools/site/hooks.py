"""Hooks of mkdocs: pages made from the code, results beside the manuals, and no resource of another host.

They need the repository's root as the current folder: `python -m mkdocs build`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from tools.site.engines import LISTED
from tools.site.pages import ROOT, foreign, generated, moved, with_tables


def on_config(config: Any) -> Any:
    """Complete the navigation with what the code and the folders hold."""
    for uri in generated():
        page = Path(uri)
        if page.parent.name == "commands" and page.stem != "index":
            _section(config.nav, "Commands").append({f"servewatt {page.stem}": uri})
    _section(config.nav, "Engines").extend(f"reference/engines/{name}.md" for name in LISTED)
    _section(config.nav, "Decisions").extend(_pages("decisions"))
    explanation = _section(config.nav, "Explanation")
    listed = {
        page
        for item in explanation
        for page in (item.values() if isinstance(item, dict) else [item])
        if isinstance(page, str)
    }
    explanation[-1:-1] = [page for page in _pages("explanation") if page not in listed]
    return config


def _pages(folder: str) -> list[str]:
    """The pages in a folder of docs/, by their addresses."""
    return [str(path.relative_to(ROOT / "docs")) for path in sorted((ROOT / "docs" / folder).glob("*.md"))]


def _section(nav: list[Any], title: str) -> list[Any]:
    found = _find(nav, title)
    if found is None:
        raise PluginError(f"mkdocs.yml has no section {title!r}")
    return found


def _find(nav: list[Any], title: str) -> list[Any] | None:
    for name, inner in ((name, inner) for item in nav if isinstance(item, dict) for name, inner in item.items()):
        if isinstance(inner, list):
            found = inner if name == title else _find(inner, title)
            if found is not None:
                return found
    return None


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and those of results/ and the project's root."""
    for uri, text in generated().items():
        files.append(File.generated(config, uri, content=text))
    for path in sorted((ROOT / "results").glob("*.md")):
        files.append(File.generated(config, f"results/{path.name.replace('README', 'index')}", content=moved(path)))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        files.append(File.generated(config, name.lower(), content=moved(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the tables, and lead links out of docs/ to where those pages stand in the site."""
    text = with_tables(markdown)
    depth = page.file.src_uri.count("/")
    for outside in ("results/", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = text.replace(f"]({'../' * (depth + 1)}{outside}", f"]({'../' * depth}{outside.lower()}")
    return text.replace("results/README.md", "results/index.md")


def on_page_content(html: str, **_: Any) -> str:
    """Keep a figure and its interval in one line."""
    return re.sub(r"<td>(?=[\d.]+ (?:\[|%|and ))", '<td class="figure">', html)


def on_post_build(config: Any) -> None:
    """Refuse a site that needs the network when it is viewed."""
    site = Path(config.site_dir)
    found = {path: foreign(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path in site.rglob("*.css"):
        found[path] = re.findall(r"(?:@import|url\()\s*[\"']?(https?:[^\"')]+)", path.read_text(encoding="utf-8"))
    bad = {str(path.relative_to(site)): addresses for path, addresses in found.items() if addresses}
    if bad:
        raise PluginError(f"the site would load from other hosts: {bad}")
