"""How soon the other processes of a run end when one is killed, or goes silent.

    python -m benchmarks.lost_host [--processes=2 --victim=1]

Trains the tiny run of train.py in several processes over the loopback interface. After some steps one of them is
killed (SIGKILL), or frozen like a host that no longer answers (SIGSTOP). The command prints the time until the
others have ended, and the last words of one. Process 0 connects the others, and saves.
"""

import argparse
import signal
import socket
import tempfile
import time
from pathlib import Path

from benchmarks import tiny_run

STEPS_BEFORE, TOTAL_STEPS = 6, 1000
WORDS = ("ends here", "Terminating process")


def lose(place, count, victim, number):
    """Sends the signal `number` to the process `victim` of `count`.

    Returns:
      Seconds from the signal to the end of the last of the others, their exit codes, and the last words of one.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    workdir, processes = place / number.name, []
    for rank in range(count):
        flags = f"--coordinator_address={address}", f"--num_processes={count}", f"--process_id={rank}"
        with (place / f"output-{rank}.txt").open("w") as output:
            command = tiny_run.command("train.py", place, workdir, *flags, total_steps=TOTAL_STEPS, save_every=3)
            processes.append(tiny_run.start(place, command, output))
    try:
        while len(tiny_run.logged(workdir)) < STEPS_BEFORE:
            if any(process.poll() is not None for process in processes):
                raise SystemExit((place / f"output-{victim}.txt").read_text()[-3000:])
            time.sleep(0.01)
        processes[victim].send_signal(number)
        lost = time.monotonic()
        codes = [process.wait(timeout=300) for rank, process in enumerate(processes) if rank != victim]
        seconds = time.monotonic() - lost
    finally:
        for process in processes:
            process.kill()
            process.wait()
    lines = (place / f"output-{0 if victim else 1}.txt").read_text().splitlines()
    return seconds, codes, next((line for line in reversed(lines) if any(word in line for word in WORDS)), lines[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, choices=(2, 4), help="of the run")
    parser.add_argument("--victim", type=int, default=1, help="number of the process that is lost")
    options = parser.parse_args()
    if not 0 <= options.victim < options.processes:
        parser.error(f"--victim={options.victim} is none of the {options.processes} processes, counted from 0")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        tiny_run.write_data(place)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            seconds, codes, sentence = lose(place, options.processes, options.victim, number)
            print(
                f"process {options.victim} of {options.processes} got {number.name}: the others ended within "
                f"{seconds:.1f} s, codes {codes}; one said:\n  {sentence}",
                flush=True,
            )


if __name__ == "__main__":
    main()
