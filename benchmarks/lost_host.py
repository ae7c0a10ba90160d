"""How soon the other processes of a run end when one is killed, or stays silent.

    python -m benchmarks.lost_host [--processes=2 --victim=1]

Trains the tiny network of the tests in several processes over the loopback interface. In the middle, one of them is killed
(SIGKILL) or frozen (SIGSTOP, as a host that no longer answers); prints how long the others went on and their last words.
Process 0 is the one through which the others find each other, and which saves.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from benchmarks.tiny_run import ROOT

PROCESSES = flags.DEFINE_integer("processes", 2, "of the run")

VICTIM = flags.DEFINE_integer("victim", 1, "number of the process that is lost")

STEP = 7  # before which it gets the signal
WORDS = ("ends here", "Terminating process")


def is_gone(process):
    """Whether a process has ended or is frozen."""
    return process.poll() is not None or Path(f"/proc/{process.pid}/stat").read_text().rsplit(")")[1].split()[0] == "T"


def lose(count, victim, number):
    """Seconds from the loss of process `victim` to the end of the last of the others, their exit codes, and words of one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryDirectory() as workdir:
        processes = []
        for rank in range(count):
            command = [sys.executable, "-m", "tests.training.worker", address, str(count), str(rank), f"{workdir}/run"]
            command += [str(STEP), str(int(number))] if rank == victim else []
            with open(f"{workdir}/output-{rank}.txt", "w") as output:
                processes.append(
                    subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
                )
        try:
            while not is_gone(processes[victim]):
                time.sleep(0.01)
            lost = time.monotonic()
            others = [process for rank, process in enumerate(processes) if rank != victim]
            codes = [process.wait(timeout=300) for process in others]
            seconds = time.monotonic() - lost
        finally:
            for process in processes:
                process.kill()
        lines = Path(f"{workdir}/output-{0 if victim else 1}.txt").read_text().splitlines()
    return seconds, codes, next((line for line in reversed(lines) if any(word in line for word in WORDS)), lines[-1])


def main(_):
    for number in (signal.SIGKILL, signal.SIGSTOP):
        seconds, codes, sentence = lose(PROCESSES.value, VICTIM.value, number)
        print(
            f"process {VICTIM.value} of {PROCESSES.value} got {number.name}: the others ended within {seconds:.1f} s, codes {codes}; one said:"
        )
        print(f"  {sentence}", flush=True)


if __name__ == "__main__":
    app.run(main)
