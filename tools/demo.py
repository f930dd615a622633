"""The main job, shown once: a phantom patient goes to a server, dose and DVHs come back.

Starts a dosecalc server on a free loopback port, writes a phantom as CT, RTSTRUCT and RTPLAN, sends it through the
public client, and prints a DVH table and where the RTDOSE and a picture of the dose lie.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

#: starting takes a second or two; a machine that compiles Python files for the first time takes longer
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="demo-output", show_default=True)
@click.option("--phantom", default="water-lung-slab", show_default=True, help="See `dosecalc phantom --list`.")
@click.option("--plan", default="box", show_default=True, help="static, box, step-and-shoot or vmat.")
def main(output: Path, phantom: str, plan: str) -> None:
    """Run the demonstration and leave its files in the output directory."""
    begin = time.perf_counter()
    patient, results = output / "phantom", output / "results"
    dosecalc("phantom", phantom, "--plan", plan, "--fractions", "25", "--mu", "60", "--output", str(patient))
    with (
        tempfile.TemporaryDirectory(prefix="dosecalc-demo-") as store,
        server(Path(store), output / "server.log") as address,
    ):
        click.echo(f"A dosecalc server listens on {address}.")
        dosecalc("compute", str(patient), "--server", address, "--output", str(results))
    click.echo(f"Dose (RTDOSE): {results / 'RD.plan.dcm'}")
    click.echo(f"Picture:       {results / 'dose.png'}")
    click.echo(f"Done in {time.perf_counter() - begin:.0f} s; the first run compiles the kernels, later ones do not.")


def dosecalc(*arguments: str) -> None:
    """Run one command of the command line, as a user would."""
    click.echo(f"$ dosecalc {' '.join(arguments)}")
    done = subprocess.run([sys.executable, "-c", "from dosecalc.cli import main; main()", *arguments], check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)


@contextlib.contextmanager
def server(store: Path, log: Path) -> Iterator[str]:
    """A server in a process of its own; its address, and its end when the block ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "from dosecalc.cli import main; main()", "serve"]
    with log.open("wb") as file:
        process = subprocess.Popen([*command, "--listen", "127.0.0.1:0", "--store", str(store)], stderr=file)
        try:
            yield address_of(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def address_of(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the server listens, as it says in its log."""
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"127\.0\.0\.1:\d+", log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[0]
        time.sleep(0.1)
    click.echo(log.read_text(encoding="utf-8", errors="replace"), err=True)
    raise click.ClickException("The server did not start; its log stands above.")


if __name__ == "__main__":
    main()
