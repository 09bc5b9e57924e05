"""A page per method, from its card, and the table of all methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench import registry
from bench.reporting.cards import Block, Card, FieldFacts, card
from generate.markup import code, inline, plain, preformatted, table


def names() -> list[str]:
    """Our methods, the supervised baseline first; plug-ins that happen to be installed are left out."""
    ours = [name for name in registry.names() if registry.get(name).__module__.startswith("variants.")]
    return sorted(ours, key=lambda name: (name != "supervised", name))


def pages() -> dict[str, str]:
    """Path in the documentation -> Markdown."""
    return {f"methods/{name}.md": _page(card(name)) for name in names()}


def overview() -> str:
    """The table of all methods."""
    head = ("method", "what it is", "techniques for `bench ablate`")
    return table(head, [(f"[{name}]({name}.md)", plain(card(name).title), _techniques(name)) for name in names()])


def _techniques(name: str) -> str:
    return ", ".join(map(plain, registry.get(name).techniques)) or "–"


def _page(found: Card) -> str:
    return "\n\n".join(
        [
            f"# {plain(found.name)}",
            f"**{plain(found.title)}**",
            *map(_block, found.blocks),
            "## Try it",
            f"```\n{_command(found)}\n```",
            "## Recipe",
            "All hyper-parameters, and their values by protocol and by dataset or shape class (vector; grey: up to 28 "
            "pixels; colour: up to 32; large). Any of them is changed with "
            f"`--set {found.name}.FIELD=VALUE`. *Off* is the value that switches a field off.",
            table(("field", "meaning", "allowed", "off", "values"), map(_row, found.fields)),
            "",
        ]
    )


def _command(found: Card) -> str:
    """A grid of seconds that runs the method, on data for which it has a recipe."""
    variant = registry.get(found.name)
    recipes = {data for table in variant.recipes.values() for data in table}
    dataset = "digits" if recipes & {"digits", "grey"} else "two-circles"
    variants = "supervised" if found.name == "supervised" else f"supervised,{found.name}"
    return f"bench run --variants {variants} --dataset {dataset} --labels 20 --seeds 3 --protocol smoke"


def _block(block: Block) -> str:
    if block.kind == "code":
        return preformatted(block.text)
    if block.kind == "list":
        return "\n".join(f"{number}. {inline(item)}" for number, item in enumerate(block.items, start=1))
    return inline(block.text)


def _row(field: FieldFacts) -> tuple[str, ...]:
    off = "" if field.neutral is None else code(field.neutral)
    return code(field.name), inline(field.why), plain(field.allowed), off, "<br>".join(_values(field.values))


def _values(values: Mapping[str, str]) -> Iterator[str]:
    """Each value once, with where it holds; a value that holds everywhere stands alone."""
    if len(set(values.values())) == 1:
        yield code(next(iter(values.values())))
        return
    for value in dict.fromkeys(values.values()):
        places = [plain(place.replace(", ", " ")) for place, own in values.items() if own == value]
        yield f"{code(value)}: {', '.join(places)}"
