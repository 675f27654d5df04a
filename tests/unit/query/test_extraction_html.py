import pytest

from query.extraction.html import read_html
from query.extraction.model import ExtractionError


def markdown(page: str) -> str:
    return read_html(page.encode()).text


def test_headings_of_all_levels_stay_headings() -> None:
    page = "".join(f"<h{level}>T{level}</h{level}>" for level in range(1, 7))
    assert markdown(page) == "\n\n".join(f"{'#' * level} T{level}" for level in range(1, 7))


def test_paragraphs_stand_apart_and_their_blanks_are_one() -> None:
    assert markdown("<p>One\n  two<p>three&nbsp;\tfour<div>five</div>six") == (
        "One two\n\nthree four\n\nfive\n\nsix"
    )


def test_a_line_that_is_broken_by_hand_stays_broken() -> None:
    assert markdown("<p>One<br>two<br/> three") == "One\ntwo\nthree"


def test_emphasis_and_links_leave_their_text() -> None:
    assert markdown("<p>a <b>b</b><i>c</i> <a href=x>d</a>, <span>e</span>f") == "a bc d, ef"


def test_lists_keep_their_nesting_and_numbers() -> None:
    page = "<ul><li>a<li>b<ol start=3><li>c<li>d</ol><li>e</ul><p>f"
    assert markdown(page) == "- a\n- b\n  3. c\n  4. d\n- e\n\nf"


def test_a_second_paragraph_of_an_item_belongs_to_it() -> None:
    assert markdown("<ul><li><p>a<p>b<li>c</ul>") == "- a\n\n  b\n- c"


def test_an_item_outside_of_a_list_is_an_item() -> None:
    assert markdown("<li>a</li><p>b") == "- a\n\nb"


def test_a_definition_follows_its_term() -> None:
    assert markdown("<dl><dt>a<dd>b</dl>") == "a\n\n: b"


def test_a_quotation_is_marked() -> None:
    assert markdown("<blockquote><p>a<p>b<ul><li>c</ul></blockquote><p>d") == (
        "> a\n\n> b\n\n> - c\n\nd"
    )


def test_a_heading_inside_of_an_item_makes_a_section() -> None:
    assert markdown("<ul><li><h2>A</h2><p>b</ul>") == "## A\n\n- b"


def test_a_table_keeps_rows_and_columns() -> None:
    page = (
        "<table><caption>Cap</caption><tr><th>H<th>I<tr><td>1<td>2 | 3"
        "<tr><td colspan=2><p>4<p>5</table>"
    )
    assert markdown(page) == "Cap\n\n| H | I |\n| --- | --- |\n| 1 | 2 \\| 3 |\n| 4 5 |  |"


def test_rows_of_different_length_are_filled_up() -> None:
    assert markdown("<table><tr><td>a<td>b<tr><td>c</table>") == (
        "| a | b |\n| --- | --- |\n| c |  |"
    )


def test_a_table_that_arranges_a_page_is_no_data() -> None:
    page = "<table><tr><td><h2>A</h2><p>b<td><table><tr><td>c<td>d<tr><td>e<td>f</table></table>"
    assert markdown(page) == "## A\n\nb\n\n| c | d |\n| --- | --- |\n| e | f |"


def test_a_table_of_one_row_is_a_line() -> None:
    assert markdown("<table><tr><td>a<td>b</table>") == "a | b"


def test_code_keeps_its_lines_and_blanks_and_its_language() -> None:
    page = '<pre><code class="language-py">def f():\n    # no\n    return "&lt;"\n</code></pre>'
    assert markdown(page) == '```py\ndef f():\n    # no\n    return "<"\n```'
    assert markdown('<pre class="lang-sh">\nls   -l</pre>') == "```sh\nls   -l\n```"


def test_code_with_a_fence_in_it_gets_a_longer_one() -> None:
    assert markdown("<pre>a\n````\nb</pre>") == "`````\na\n````\nb\n`````"


def test_lines_of_code_in_elements_of_their_own_stay_lines() -> None:
    assert markdown("<pre><div>a</div><div>b</div>c<br>d</pre>") == "```\na\nb\nc\nd\n```"


def test_code_in_a_sentence_is_marked() -> None:
    assert markdown("<p>Call <code> f(x) </code> or <kbd>Ctrl</kbd>.") == ("Call `f(x)` or `Ctrl`.")


def test_text_that_looks_like_a_heading_or_fence_is_none() -> None:
    assert markdown("<p># a<p>#b<p>```<br>c") == "\\# a\n\n#b\n\n\\```\nc"


def test_an_image_leaves_its_description() -> None:
    assert markdown("<p>a<img alt='un  gato' src=data:x>b<img src=y>") == "a un gato b"


@pytest.mark.parametrize(
    "element",
    [
        "<script>no()</script>",
        "<style>no{}</style>",
        "<template><p>no</template>",
        "<noscript>no</noscript>",
        "<svg><text>no</text></svg>",
        "<iframe>no</iframe>",
        "<button>no</button>",
        "<select><option>no</select>",
        "<textarea>no</textarea>",
        "<!-- no -->",
        "<p hidden>no</p>",
        "<p aria-hidden=true>no</p>",
        "<p style='color: red; DISPLAY : none'>no</p>",
        "<nav>no</nav>",
        "<div role=navigation>no</div>",
        "<div role=search>no</div>",
        "<header>no</header>",
        "<footer>no</footer>",
        "<aside>no</aside>",
        "<div role=contentinfo>no</div>",
    ],
)
def test_what_is_no_content_is_left_out(element: str) -> None:
    assert markdown(f"<p>a</p>{element}<p>b</p>") == "a\n\nb"


def test_an_anchor_of_a_heading_is_left_out() -> None:
    assert markdown("<h1>A<a class=headerlink href=#a>¶</a></h1>") == "# A"


def test_only_the_main_content_of_a_page_is_taken() -> None:
    assert markdown("<div>menu</div><main><h1>A</h1><p>b</main><div>other</div>") == "# A\n\nb"
    assert markdown("<div>menu</div><div role=main>b</div>") == "b"
    assert markdown("<div>menu</div><article>b</article>") == "b"


def test_of_several_articles_none_is_the_whole() -> None:
    assert markdown("<article>a</article><p>b</p><article>c</article>") == "a\n\nb\n\nc"


def test_headers_notes_and_footers_inside_of_the_content_belong_to_it() -> None:
    page = "<main><header>a</header><aside>b</aside><p>c</p><footer>d</footer></main>"
    assert markdown(page) == "a\n\nb\n\nc\n\nd"
    assert markdown("<article><header>a</header>b</article><article>c</article>") == "a\n\nb\n\nc"


def test_a_header_with_a_heading_introduces_its_page() -> None:
    assert markdown("<header><h1>A</h1></header><p>b") == "# A\n\nb"


def test_a_page_of_nothing_else_gives_what_is_left_out_elsewhere() -> None:
    assert markdown("<footer>a</footer>") == "a"
    assert markdown("<main> </main><p>b") == "b"


@pytest.mark.parametrize("page", ["", " ", "<p> </p>", "<script>x</script>", "<div id=app></div>"])
def test_a_page_without_text_says_what_to_do(page: str) -> None:
    with pytest.raises(ExtractionError, match="save the page as the browser shows it"):
        markdown(page)


def test_the_title_is_the_pages_own() -> None:
    extracted = read_html(b"<title> A &amp;\n B </title><svg><title>C</title></svg><h1>D</h1>")
    assert (extracted.title, extracted.text, extracted.markdown) == ("A & B", "# D", True)
    assert read_html(b"<h1>D</h1>").title == ""
    assert len(read_html(b"<title>" + b"x" * 5000 + b"</title><p>y").title) == 1000


def test_a_page_may_be_nested_as_deep_as_it_likes() -> None:
    depth = 20_000
    assert markdown("<p>a" + "<span>" * depth + "b" + "</span>" * depth) == "ab"
    assert markdown("<ul><li>" * 2000 + "b").endswith("- b")


def test_a_list_of_many_items_takes_no_longer_for_each() -> None:
    # Whoever counts the items before each of them would need minutes.
    text = markdown("<ol>" + "<li>x" * 50_000 + "</ol>")
    assert text.endswith("\n50000. x")


def test_a_page_of_too_much_text_is_given_up_early() -> None:
    with pytest.raises(ExtractionError, match="2,000,000 characters"):
        markdown(f"<p>{'0123456789' * 100}" * 3000)


@pytest.mark.parametrize(
    "page",
    ["</td></table></ul></pre></a></code>x", "<td>x", "<code><p>x</code>", "<a><div>x</a>",
     "<table><tr><td><table><tr><td>x", "<pre><table><tr><td>x</table></pre>", "<q><li>x",
     "<table><tr><td><pre>x</pre><td>y", "<li><ol><dd><li><blockquote>x", "<table>x</table>"],
)  # fmt: skip
def test_broken_markup_gives_its_text(page: str) -> None:
    assert "x" in markdown(page)
