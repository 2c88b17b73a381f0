# SPDX-License-Identifier: Apache-2.0
"""Ends with 0 when the registry in this container and its database answer, else with 1 and a line that says why.

It reads the port and whether there is TLS from the environment, as the registry does.
"""

import os
import ssl
import sys
import urllib.request

SECONDS = 5


def main() -> int:
    port = os.environ.get("OS_DEFAULT__BIND_PORT", "9191")
    scheme, context = "http", None
    if os.environ.get("OS_DEFAULT__CERT_FILE"):
        scheme, context = "https", ssl.create_default_context()
        # The certificate is for the name that clients use, and this asks the container itself.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        url = f"{scheme}://127.0.0.1:{port}/healthcheck"
        with urllib.request.urlopen(url, timeout=SECONDS, context=context):
            return 0
    except OSError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
