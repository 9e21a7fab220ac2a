"""Formulas as MathML by docutils: browsers draw it themselves, offline too, and readers for the blind know it."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number


def formula(node, block):
    """The MathML of a node; a formula that docutils cannot read is a warning, so the build ends with it."""
    try:
        return tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("the formula %r: %s", node.astext(), error, location=node)
        return ""


def visit_inline(self, node):
    self.body.append(f"{self.starttag(node, 'span', '', CLASS='math notranslate nohighlight')}{formula(node, False)}</span>")
    raise nodes.SkipNode


def visit_display(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f"{formula(node, True)}</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    return {"version": "1", "parallel_read_safe": True}
