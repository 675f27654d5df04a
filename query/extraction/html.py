"""HTML pages as Markdown: their content, without what every page of a site repeats."""

from selectolax.lexbor import LexborHTMLParser, LexborNode

from query.extraction.charset import decode_page
from query.extraction.markdown_writer import HEADINGS, Attributes, MarkdownWriter
from query.extraction.model import MAX_CHARACTERS, Extracted, ExtractionError, checked

_MAX_TITLE_CHARACTERS = 1000

_NO_CONTENT = frozenset(
    {"annotation", "audio", "button", "canvas", "datalist", "embed", "head", "iframe", "input"}
    | {"link", "map", "meta", "noscript", "object", "option", "rp", "script", "select", "style"}
    | {"svg", "template", "textarea", "video"}
)
_NAVIGATION = frozenset({"nav", "dialog"})
# What surrounds the content of a page; inside of the content they belong to it.
_SURROUNDINGS = frozenset({"header", "footer", "aside"})
_NAVIGATION_ROLES = frozenset({"navigation", "search", "dialog", "alertdialog", "menu", "menubar"})
_SURROUNDING_ROLES = frozenset({"banner", "contentinfo", "complementary"})
_CONTENT = frozenset({"main", "article"})
_ANY_HEADING = ", ".join(HEADINGS)
# A table that holds more of these than itself arranges a page: its cells are no data.
_LAYOUT = ", ".join(("table", "pre", *HEADINGS))

_End = tuple[str, Attributes]
"""The end of an element, on the way through a page."""


def read_html(content: bytes) -> Extracted:
    """The main content of a page as Markdown, and its title. ExtractionError."""
    page = LexborHTMLParser(decode_page(content))
    body = page.body
    named = page.css_first("head > title")
    title = " ".join(named.text().split())[:_MAX_TITLE_CHARACTERS] if named else ""
    text = ""
    if body is not None:
        text = _markdown(_main(page) or body) or _markdown(body) or _markdown(body, whole=True)
    if not text:
        raise ExtractionError(
            "the page has no text: if scripts write it, save the page as the browser shows it"
        )
    return checked(Extracted(text, title, markdown=True))


def _main(page: LexborHTMLParser) -> LexborNode | None:
    """The element that the page says is its content."""
    if main := page.css_first("main, [role=main]"):
        return main
    articles = page.css("article")
    return articles[0] if len(articles) == 1 else None


def _markdown(root: LexborNode, *, whole: bool = False) -> str:
    """What an element shows; unless `whole`, without navigation and surroundings.

    Walks with a list, not by recursion: a page may be nested as deep as it likes.
    """
    writer = MarkdownWriter()
    ahead: list[LexborNode | _End] = [root]
    while ahead and writer.characters <= MAX_CHARACTERS:
        node = ahead.pop()
        if isinstance(node, tuple):
            writer.close(*node)
            continue
        tag = node.tag or ""
        if tag == "-text":
            writer.text(node.text_content or "")
        elif not tag.startswith("-") and tag not in _NO_CONTENT:
            attributes = node.attributes
            if _is_hidden(attributes) or (not whole and _is_repeated(node, tag, attributes)):
                continue
            grid = tag == "table" and len(node.css(_LAYOUT)) == 1
            writer.open(tag, attributes, grid=grid)
            ahead.append((tag, attributes))
            child = node.last_child
            while child is not None:
                ahead.append(child)
                child = child.prev
    return writer.markdown


def _is_hidden(attributes: Attributes) -> bool:
    if not attributes:
        return False
    style = (attributes.get("style") or "").replace(" ", "").lower()
    hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true"
    return hidden or "display:none" in style


def _is_repeated(node: LexborNode, tag: str, attributes: Attributes) -> bool:
    """Whether an element is navigation, or surrounds the content of its page."""
    role = attributes.get("role") or ""
    if tag in _NAVIGATION or role in _NAVIGATION_ROLES:
        return True
    if tag in _SURROUNDINGS or role in _SURROUNDING_ROLES:
        introduces = tag == "header" and node.css_first(_ANY_HEADING) is not None
        return not introduces and not _is_inside_content(node)
    return False


def _is_inside_content(node: LexborNode) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag in _CONTENT or parent.attributes.get("role") == "main":
            return True
        parent = parent.parent
    return False
