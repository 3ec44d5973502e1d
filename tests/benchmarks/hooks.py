"""A plugin that does nothing, to measure what it costs to have one: ``--plugin tests.benchmarks.hooks:unchanged``."""

from replayer.plugins import PluginRequest


def unchanged(request: PluginRequest) -> PluginRequest | None:
    """Send the request as it would have been sent."""
    return request
