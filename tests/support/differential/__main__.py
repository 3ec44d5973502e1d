"""Print the page: ``python -m tests.support.differential > docs/http-conformance.md``."""

import sys

from tests.support.differential.rendering import page

sys.stdout.write(page())
