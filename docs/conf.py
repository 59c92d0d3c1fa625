"""How Sphinx builds the site: `python -m sphinx -W -b html docs site`."""

import contextlib
import importlib
import io
import os
import pathlib
import re
import sys
import typing

from docutils import nodes
from docutils.utils.math.latex2mathml import MathError, tex2mathml
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # this checkout, installed or not
import jaxgan

project = "jaxgan"
author = copyright = "the jaxgan authors"
release = version = jaxgan.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["_build"]

# Pages are written as GitHub shows them: the same links, anchors and formulas.
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4

# Notebooks run as the site is built, and again only when they change. Without them:
# `-D nb_execution_mode=off`.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_execution_in_temp = True  # where they may write
os.environ["PYTHONPATH"] = sys.path[0]

# Docstrings speak of names in single backticks, which link where there is such a name.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # they are in the signatures' docstrings, with shapes
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False

html_theme = "furo"
html_title = "jaxgan"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"

_log = logging.getLogger(__name__)
_THIN_SPACE = '<mspace width="0.1667em"></mspace>'


def _mathml(node, as_block=False):
    try:
        formula = tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        _log.warning("%s in %s", error, node.astext(), location=node)
        formula = ""
    # Browsers set no space between log and x; there is none before a bracket.
    return re.sub(r"<mo>&ApplyFunction;</mo>(?!\s*<mo[^>]*>[([{|])", _THIN_SPACE, formula)


def _inline_formula(translator, node):
    translator.body.append(_mathml(node))
    raise nodes.SkipNode


def _formula(translator, node):
    translator.body.append(f'<div class="formula">{_mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def _skip_field(app, what, name, obj, skip, options):
    """Leaves out the fields of NamedTuples: their docstrings list them under "Attributes"."""
    return skip or type(obj).__name__ == "_tuplegetter"


def _escape(app, what, name, obj, options, lines):
    """In docstrings |x| is a modulus, which reStructuredText takes for something to replace."""
    lines[:] = [re.sub(r"(?<!\\)\|", r"\|", line) for line in lines]


class Help(SphinxDirective):
    """What a program prints with --help."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Returns it as a block of text."""
        os.environ["COLUMNS"] = "90"  # which argparse wraps its lines at
        with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
            importlib.import_module(f"jaxgan.commands.{self.arguments[0]}").main(["--help"])
        return [nodes.literal_block(shown.getvalue(), shown.getvalue(), language="text")]


def setup(app) -> dict[str, typing.Any]:
    """Formulas become MathML, which browsers draw: MathJax would be a script from elsewhere."""
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_formula, None))
    app.add_directive("help", Help)
    app.connect("autodoc-process-docstring", _escape)
    app.connect("autodoc-skip-member", _skip_field)
    return {"parallel_read_safe": True}
