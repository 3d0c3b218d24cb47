"""A page as a tree of elements."""

import dataclasses
from html.parser import HTMLParser

VOID = ("meta", "img", "br", "link", "input", "hr")


@dataclasses.dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list["Element"] = dataclasses.field(default_factory=list)
    texts: list[str] = dataclasses.field(default_factory=list)

    def all(self, tag: str, **attributes: str) -> list["Element"]:
        """Descendants in the page's order; attributes by name, a class as `of_class`."""
        wanted = {name.replace("of_class", "class"): v for name, v in attributes.items()}
        found = []
        for child in self.children:
            if child.tag == tag and all(child.attributes.get(k) == v for k, v in wanted.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> "Element":
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


class Page(HTMLParser):
    """A tree of elements; complains of tags that do not close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert self._open == [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag == "br":
            self.handle_data(" ")
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self._open[-1].children.append(Element(tag, {n: v or "" for n, v in attrs}))

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.texts.append(data)
