from query.passages import MAX_CONTEXT_CHARACTERS, embedded_text


def test_a_passage_is_embedded_with_the_names_that_it_lacks() -> None:
    assert embedded_text("Aurora 200", "Manual > Batería", "Dura 9 horas.") == (
        "Aurora 200 > Manual > Batería\n\nDura 9 horas."
    )


def test_what_a_passage_says_itself_is_not_said_twice() -> None:
    text = "## Batería\n\nLa del aurora 200 dura 9 horas."
    assert embedded_text("Aurora 200", "Aurora 200 > Batería", text) == text


def test_a_title_that_is_the_first_heading_is_said_once() -> None:
    assert embedded_text("Guía", "Guía > Uso", "x") == "Guía > Uso\n\nx"


def test_without_names_the_text_is_all() -> None:
    assert embedded_text("", "", "x") == "x"


def test_long_names_leave_room_for_the_text() -> None:
    context, _, text = embedded_text("t" * 1000, "s" * 1000, "x").partition("\n\n")
    assert (len(context), text) == (MAX_CONTEXT_CHARACTERS, "x")
