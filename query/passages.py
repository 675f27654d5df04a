"""What is embedded of a passage: its text, and what its document says of it elsewhere."""

from query.sections import SECTION_SEPARATOR

MAX_CONTEXT_CHARACTERS = 160


def embedded_text(title: str, section: str, text: str) -> str:
    """The text with the names of its document and section before it, as far as it lacks them.

    A passage seldom repeats what its title says, and a question names just that. Stored and cited
    is the text alone.
    """
    said = text.casefold()
    names = dict.fromkeys([title.strip(), *section.split(SECTION_SEPARATOR)])
    missing = [name for name in names if name and name.casefold() not in said]
    context = SECTION_SEPARATOR.join(missing)[:MAX_CONTEXT_CHARACTERS].strip()
    return f"{context}\n\n{text}" if context else text
