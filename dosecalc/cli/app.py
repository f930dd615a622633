"""The group of commands, and how each of them may end."""

from __future__ import annotations

import sys
import traceback

import click

from dosecalc import __version__
from dosecalc.cli.compare import compare
from dosecalc.cli.compute import compute
from dosecalc.cli.console import ServerFailure, show_error
from dosecalc.cli.devices import devices
from dosecalc.cli.dvh import dvh
from dosecalc.cli.kernels import kernels
from dosecalc.cli.machine import machine
from dosecalc.cli.phantom import phantom
from dosecalc.cli.serve import serve
from dosecalc.cli.validate import validate
from dosecalc.errors import Cancelled, DosecalcError

EXIT_UNEXPECTED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dosecalc")
def cli() -> None:
    """Independent radiotherapy dose computation: dose and DVHs from CT, RTSTRUCT and RTPLAN.

    All lengths are in mm and all doses in Gy over all fractions, unless an option says otherwise. Exit code 0: done;
    2: the input cannot be used, with the reason on standard error; 130: interrupted.

    dosecalc is not a medical device.
    """


for command in (compute, serve, dvh, compare, validate, phantom, machine, kernels, devices):
    cli.add_command(command)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit code: 0, 1 for a fault of the program, 2 for bad input, 130 for an interruption.
    """
    try:
        result = cli.main(args=arguments, prog_name="dosecalc", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort, Cancelled):
        click.echo("Interrupted: nothing was written.", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return EXIT_BAD_INPUT
    except DosecalcError as error:
        show_error(error)
        return EXIT_UNEXPECTED if isinstance(error, ServerFailure) else EXIT_BAD_INPUT
    except BrokenPipeError:
        return EXIT_UNEXPECTED  # whoever read standard output is gone; there is nobody to tell
    except Exception:
        traceback.print_exc()
        click.echo("This is a fault of dosecalc, not of the input; the lines above say where.", err=True)
        return EXIT_UNEXPECTED
    return result if isinstance(result, int) else 0
