"""Write the tables and examples of these pages that are made from the program: `make docs`.

Each stands between `<!-- table: NAME -->` and `<!-- end of table -->`. A test holds the pages to it.
"""

import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from api.authentication import content_types
from docs import bodies, formats
from domain.refusal import RefusalCode
from ops import settings
from schemas import endpoint_headers
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed

PAGES = Path(__file__).parent
SAMPLES = PAGES.parent / "examples" / "feeds"
COLUMNS = 120
_TABLE = re.compile(r"(?<=<!-- table: )([a-z-]+) -->\n.*?(?=<!-- end of table -->)", re.DOTALL)


def feeds() -> str:
    """Every feed, its sample, and the type of update that each of its codes reports."""
    rows = ["| Feed | What it is | Sample | What each code does |", "|---|---|---|---|"]
    for feed in FEEDS.values():
        (sample,) = SAMPLES.glob(f"{feed.name}.*")
        traits = [feed.title]
        traits += ["full numbers"] if feed.carries_numbers else []
        traits += ["asks the vendor"] if feed.fetched is not None else []
        link = f"[{sample.suffix}](../examples/feeds/{sample.name})"
        rows.append(f"| `{feed.name}` | {' · '.join(traits)} | {link} | {_codes(feed)} |")
    return "\n".join(rows)


def _codes(feed: Feed) -> str:
    codes: dict[str, list[str]] = {}
    for code in feed.codes:
        codes.setdefault(code.update_type or "refused", []).append(f"`{code.code}`" if code.code else "(blank)")
    return "; ".join(f"{', '.join(dict.fromkeys(names))}: {update_type}" for update_type, names in codes.items())


def content_types_of_feeds() -> str:
    """The feeds by the content types that they can be posted as."""
    rows = ["| Posted as | Feeds |", "|---|---|"]
    by_types: dict[tuple[str, ...], list[str]] = {}
    for feed in FEEDS.values():
        by_types.setdefault(content_types(feed), []).append(f"`{feed.name}`")
    for types, names in sorted(by_types.items(), reverse=True):
        shown = " or ".join(f"`{type_}`" for type_ in types) or "not at all: files alone"
        rows.append(f"| {shown} | {', '.join(names)} |")
    return "\n".join(rows)


def irrelevant_kinds() -> str:
    """The irrelevant kinds of each feed that has some."""
    kinds = {feed.name: ", ".join(f"`{kind}`" for kind in feed.irrelevant) for feed in FEEDS.values()}
    rows = [f"| `{name}` | {listed} |" for name, listed in kinds.items() if listed]
    return "\n".join(["| Feed | Irrelevant kinds |", "|---|---|", *rows])


def assumptions() -> str:
    """What each adapter assumes: the paragraph of its docstring that begins with `Assumed:`."""
    items = []
    for feed in FEEDS.values():
        docstring = import_module(f"schemas.feeds.{feed.name.replace('-', '_')}").__doc__ or ""
        _, label, paragraph = docstring.partition("Assumed: ")
        items += [_list_item(f"`{feed.name}`: {' '.join(paragraph.split())}")] if label else []
    return "\n".join(items)


def _list_item(text: str) -> str:
    return textwrap.fill(text, COLUMNS, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def refusals() -> str:
    """The code of every refusal, and what it means."""
    return "\n".join(["| Code | Means |", "|---|---|", *(f"| `{code.name}` | {code.value} |" for code in RefusalCode)])


def reserved_headers() -> str:
    """The names of headers that no endpoint may set, and why."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in endpoint_headers.RESERVED.items():
        by_reason.setdefault(reason, []).append(f"`{name}`")
    rows = [f"| {', '.join(names)} | {reason} |" for reason, names in by_reason.items()]
    return "\n".join(["| Reserved | Because |", "|---|---|", *rows])


def settings_of_program() -> str:
    """Every setting, its default and its reason."""
    rows = ["| Setting | Default | Why |", "|---|---|---|"]
    for setting in settings.described():
        default = f"`{setting.default}`" if setting.default else ""
        rows.append(f"| `{setting.name}` | {default} | {setting.reason} |")
    return "\n".join(rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "assumptions": assumptions,
    "body-deleted": bodies.deleted,
    "body-disabled": bodies.disabled,
    "body-replaced": bodies.replaced,
    "body-test": bodies.test,
    "body-updated": bodies.updated,
    "content-types": content_types_of_feeds,
    "details": bodies.details,
    "feeds": feeds,
    "format-merchants": formats.merchants,
    "format-updates": formats.updates,
    "format-wallets": formats.wallets,
    "irrelevant-kinds": irrelevant_kinds,
    "refusals": refusals,
    "reserved-headers": reserved_headers,
    "settings": settings_of_program,
}


def with_tables(page: str) -> str:
    """A page with its tables as the program has them now."""
    return _TABLE.sub(lambda table: f"{table[1]} -->\n{TABLES[table[1]]()}\n", page)


def pages() -> list[Path]:
    """The pages that have tables."""
    return [path for path in sorted(PAGES.glob("*.md")) if _TABLE.search(path.read_text(encoding="utf-8"))]


def main() -> None:
    """Write every page whose tables have changed, and the JSON Schemas."""
    for path in pages():
        page = path.read_text(encoding="utf-8")
        current = with_tables(page)
        if current != page:
            path.write_text(current, encoding="utf-8")
            sys.stdout.write(f"docs/{path.name}: tables written\n")
    for name in formats.MODELS:
        path, text = formats.SCHEMAS / f"{name}.json", formats.schema_text(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"docs/schemas/{path.name}: written\n")


if __name__ == "__main__":
    main()
