"""Titles that are markup, scripts, formulas or worse are shown as text."""

import csv
import html
import re
import shutil
import unicodedata
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from mixlib import datasets, describe, figures, labels, notebooks, publish, synthetic
from mixlib.datasets import Interactions
from mixlib.names import LONGEST, as_text

HOSTILE = [
    "<script>steal()</script>", "<img src=x onerror=steal()>", "</td></table><h1>gone</h1>", "&lt;b&gt;",
    "$\\frac{1}{0$", "\\(\\href{javascript:steal()}{x}\\)",
    "{glue}`ratio`", "```{code-cell}", "| a | b |", "[x](javascript:steal())",
    "\u202ereversed\u2066", "a\x00b\x07c\x1b[31m", "two\nlines\r\nand three",
    "z" * 5000, "\u200b", "'\" onload=steal() x='", "{{ 7 * 7 }}", "%matplotlib",
    "(a)=", "+++", "- a", "1984. A novel", ": is a definition",
]  # fmt: skip


@given(st.text(max_size=400))
def test_a_title_is_one_short_line_of_visible_characters(title):
    shown = as_text(title)
    assert len(shown) <= LONGEST and not set(shown) & set("$\\\n\r\t") and shown == as_text(shown)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("blank", [" ", "\u200b", "\u202e\u2066", "\u3164", "\u2800 \u115f", "\x00\x07"])
def test_a_title_that_shows_nothing_gives_way_to_the_id(blank):
    titles = np.array(["", "Amélie", blank], dtype=object)
    made = Interactions(np.zeros(2, int), np.array([1, 2]), titles=titles, item_ids=np.array([40, 50]))
    assert made.titles_of(np.array([2, 1])) == ["item 50", "Amélie"]


def test_honest_titles_stay_as_they_are():
    for title in ("Amélie (2001)", "Who's Afraid of <3?", "七人の侍", "10 Things I Hate About You & more; 50 %"):
        assert as_text(title) == title


def test_names_that_differ_in_capitals_alone_have_titles_of_their_own():
    assert [labels.title(name) for name in ("LastFM-1K", "lastfm-1k", "movielens-1m")] == ["LastFM 1K", "Lastfm 1k", "Movielens 1M"]


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")  # fonts lack many letters, which is no harm
@pytest.mark.parametrize("title", HOSTILE, ids=range(len(HOSTILE)))
def test_a_figure_takes_any_title(title, tmp_path):
    figure, axes = figures.new()
    axes.set(title=as_text(title), xlabel=as_text(title))
    figures.save(figure, tmp_path / "drawn")
    drawn = list(ElementTree.parse(tmp_path / "drawn.svg").iter())
    assert not {tag.tag.rpartition("}")[2] for tag in drawn} & {"script", "image", "a"} and len(drawn) > 20
    assert not [name for tag in drawn for name in tag.attrib if name.startswith("on")]


@pytest.fixture
def hostile(data_root):
    """A data set in which every item has a hostile title, and the same data without titles."""
    folder = data_root / "hostile"
    folder.mkdir()
    made = synthetic.generate(users=60, items=36, tastes=2, clusters=4, length=20)
    pd.DataFrame({"user_id": made.users, "item_id": made.items, "timestamp": made.timestamps}).to_csv(
        folder / "interactions.csv", index=False
    )
    plain = datasets.load("hostile").fingerprint
    with (folder / "titles.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["item_id", "title"])
        rows.writerows((i + 1, HOSTILE[i % len(HOSTILE)].replace("\x00", "\x01")) for i in range(36))  # no csv file holds a NUL
    (folder / "dataset.toml").write_text('title = "<script>steal()</script> $x$"\ntitles = "titles.csv"\nmin_length = 5\nmax_length = 20\n')
    return plain


def test_titles_change_no_fingerprint(hostile):
    found = datasets.load("hostile")
    assert found.titles is not None and "<script>steal()</script>" in set(found.titles) and found.fingerprint == hostile


@pytest.mark.filterwarnings("ignore")  # of papermill and the kernel's client
@pytest.mark.parametrize("name", ["01-datasets", "05-sequences"])
def test_a_notebook_shows_hostile_titles_as_text(hostile, tmp_path, request, name):
    from nbconvert import HTMLExporter

    ran = tmp_path / f"{name}.ipynb"
    notebooks.execute(request.config.rootpath / "notebooks" / f"{name}.ipynb", ran, {"dataset": "hostile", "profile": "demo"})
    notebook = nbformat.read(ran, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    tables = [BeautifulSoup(output["data"]["text/html"], "html.parser") for output in outputs if "text/html" in output.get("data", {})]
    harmless = {"div", "style", "table", "thead", "tbody", "tr", "th", "td"}
    links = [paragraph.extract() for table in tables for paragraph in table.find_all("p")]  # to the numbers behind the figures
    assert links and {tag.name for link in links for tag in link.find_all()} == {"a"}
    for link in (link for paragraph in links for link in paragraph.find_all("a")):
        assert set(link.attrs) == {"download", "href"} and re.fullmatch(r"[\w-]+\.csv", link["download"])
        assert re.fullmatch(r"data:text/csv;base64,[A-Za-z0-9+/=]+", link["href"])
    assert any(table.find_all() for table in tables) and {tag.name for table in tables for tag in table.find_all()} <= harmless
    assert not [a for table in tables for tag in table.find_all() for a in tag.attrs if a not in ("border", "class", "style", "scoped")]
    text = " ".join(table.get_text() for table in tables)
    assert any(as_text(title)[:20] in text for title in HOSTILE) and not {unicodedata.category(c) for c in text} & {"Cf", "Cs"}
    assert not set("$\\\x07\x1b") & set(text)
    page = HTMLExporter().from_notebook_node(notebook)[0]
    soup = BeautifulSoup(page, "html.parser")
    assert not [s for s in soup.find_all("script") if "steal()" in s.get_text()] and not soup.find_all("img", src="x")
    assert not soup.find_all(onload=True) and "<script>steal()" not in page
    assert html.escape("<script>steal()</script> $x$") in page  # the data set's own title


PAGE = "# Data sets\n\n```{csv-table}\n:file: tables/datasets.csv\n:header-rows: 1\n```\n"  # as the page of data sets has it
CELLS = (
    'import torch\nfrom mixlib import describe, explorer, models\ninteractions = describe.start("hostile", "demo", seed)',
    "print(interactions.title)",
    "interactions.title",
    "describe.most_popular(interactions, interactions.n_items)",
    'torch.manual_seed(seed)\nmodel = models.build("mixture_lstm", interactions.n_items, dim=4, components=2)\n'
    "explorer.taste_table(model, interactions.items[:40].reshape(4, 10), interactions)",
)


def tiny_book(root, folder):
    """A project with a page of data sets, and a notebook that shows titles of the data set `hostile` by the means of those of the book."""
    for name in ("_ext", "_assets"):
        shutil.copytree(root / "book" / name, folder / "book" / name)
    shutil.copy(root / "_config.yml", folder / "book")
    shutil.copy(root / "book" / "references.bib", folder / "book")
    for name in ("notebooks", "book/tables"):
        (folder / name).mkdir()
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters: [{file: runs/hostile/titles}]\n")
    (folder / "book" / "index.md").write_text(PAGE)
    parameters = nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    cells = [nbformat.v4.new_markdown_cell("# Titles"), parameters, *map(nbformat.v4.new_code_cell, CELLS)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "notebooks" / "titles.ipynb")
    return notebooks.Project(folder)


@pytest.mark.filterwarnings("ignore")  # of papermill and the kernel's client
def test_a_book_shows_hostile_titles_as_text(hostile, tmp_path, request):
    project = tiny_book(request.config.rootpath, tmp_path / "project")
    describe.data_sets({f"{i:02d}": {"title": title} for i, title in enumerate(HOSTILE)}).to_csv(
        project.book / "tables" / "datasets.csv", index=False
    )
    notebooks.execute(project.notebooks / "titles.ipynb", project.book / "runs" / "hostile" / "titles.ipynb", {})
    publish.render(project, publish.contents(project, []))  # a warning would be an error
    pages = [project.book / "_build" / "html" / f"{page}.html" for page in ("index", "runs/hostile/titles")]
    articles = [BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find("article") for page in pages]
    tables = [table for article in articles for table in article.find_all("table")]
    harmless = {"caption", "colgroup", "col", "thead", "tbody", "tr", "th", "td", "p"}
    assert len(tables) == 3 and {tag.name for table in tables for tag in table.find_all()} <= harmless
    for article in articles:
        assert not [script for script in article.find_all("script") if "steal" in script.get_text()] and not article.find_all(class_="math")
        assert not [attribute for tag in article.find_all() for attribute in tag.attrs if attribute.startswith("on")]
        assert not article.find_all("img") and not article.find_all(href=re.compile("javascript"))
        assert len(article.find_all("h1")) == 1
    by_data_set, popular, tastes = ([[cell.get_text() for cell in row.find_all("td")] for row in table.find_all("tr")] for table in tables)
    straight = str.maketrans("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", "''\"")
    assert [row[0].translate(straight) for row in by_data_set[-len(HOSTILE) :]] == [as_text(title) for title in HOSTILE]
    known = {as_text(title) or f"item {place}" for place, title in enumerate(HOSTILE, 1)}
    assert {row[0] for row in popular[1:]} == known
    left = "".join(row[-1] for row in tastes[1:])
    for title in sorted(known, key=len, reverse=True):
        left = left.replace(title, "")
    assert len(tastes) == 1 + 4 * 3 and set(left) == {";", " "}  # between the titles
    assert articles[1].get_text().count("<script>steal()</script> $x$") == 2  # the data set's own title
