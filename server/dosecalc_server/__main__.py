"""``python -m dosecalc_server``: the server without the rest of the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dosecalc.errors import DosecalcError
from dosecalc_server.app import serve
from dosecalc_server.config import config_of


def main() -> int:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m dosecalc_server", description="Serve dose computations over gRPC.")
    parser.add_argument(
        "--listen", default="127.0.0.1:50051", metavar="HOST:PORT", help="where to listen (%(default)s)"
    )
    parser.add_argument("--store", required=True, type=Path, metavar="DIR", help="directory that keeps everything")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="jobs at the same time (%(default)s)")
    parser.add_argument("--max-queued", type=int, default=64, metavar="N", help="jobs that may wait (%(default)s)")
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="the server's certificate chain")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its private key")
    parser.add_argument("--tls-client-ca", type=Path, metavar="PEM", help="let in only clients certified by these")
    parser.add_argument("--insecure", action="store_true", help="listen beyond loopback in the clear")
    try:
        serve(config_of(**vars(parser.parse_args())))
    except DosecalcError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
