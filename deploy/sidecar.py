"""reamp's add-ons in stock mitmproxy.

    mitmdump -s deploy/sidecar.py --mode reverse:http://127.0.0.1:8000 --listen-port 8080 \
        --set keep_host_header=true --set connection_strategy=lazy \
        --set reamp_public_key=keys/load.pub --set reamp_captures=recordings --set reamp_max_extra=25%

All settings are options that begin with ``reamp_``; ``mitmdump --options`` lists them.
"""

from addons.chain import chain

addons = chain().addons()
