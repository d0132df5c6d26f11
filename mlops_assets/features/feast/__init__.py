"""Feast, imported without the parts that cost most and that nothing here needs, before any module that imports it in full."""

from mlops_assets.features.feast.feast_internals import import_feast

import_feast()
