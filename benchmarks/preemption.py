"""Kills a training again and again, and compares its end with the end of the same training left alone.

    python -m benchmarks.preemption [--kills=50 --seed=0 --keep=DIR]

The tiny run of train.py is saved every other step. It gets SIGKILL, SIGTERM or Ctrl-C at random moments: while it
starts, within steps, within saves. After each it is started again with the same command. Twice on the way a bit of its
last checkpoint is flipped. The benchmark ends with an error unless

- every start goes on from the last complete checkpoint,
- a SIGTERM or Ctrl-C that the run could catch loses no step,
- a damaged checkpoint is refused by its name, and --skip_damaged goes on from the one before,
- parameters, optimiser, moving average and losses end equal to the last bit, and each step is logged once.
"""

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from benchmarks import hear_interrupts, tiny_run
from h3r_jax import ranges
from h3r_jax.errors import sentences
from h3r_jax.run import AVERAGE, PROGRESS, VARIABLES, Run

STEPS_PER_KILL = 12
DURING_START = 0.15  # of the kills, at any moment before the first step
DURING_SAVE = 0.3  # of the kills, as soon as a checkpoint is being written
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
ACCOUNT = "steps       "  # before the step from which a run goes on
MOST_STEPS = 12  # after which a kill comes, counted from the start


def saved_steps(workdir):
    """Steps of complete checkpoints, and whether one was being written."""
    names = [path.name for path in Run(workdir).checkpoints.glob("*")]
    return [int(name) for name in names if name.isdigit()], any("tmp" in name for name in names)


def last_whole(workdir):
    """The last step that can be read; 0 without one."""
    steps, _ = saved_steps(workdir)
    return next((step for step in sorted(steps, reverse=True) if not Run(workdir).faults(step)), 0)


def last_step(workdir):
    """The last step in the log; 0 without one."""
    return max((step for step, _ in tiny_run.logged(workdir)), default=0)


def one_life(place, workdir, arguments, rng, starting_seconds):
    """Starts the run and ends it at a random moment; returns what happened, and the seconds of the longest start."""
    number = rng.choice(SIGNALS)
    saved_before = last_whole(workdir)
    output = place / "output.txt"
    with output.open("w") as file:
        process = tiny_run.start(place, arguments, file)
    try:
        started = time.monotonic()
        moment = rng.random()
        if moment < DURING_START:
            wanted, delay = 0, rng.uniform(0, starting_seconds)
        else:
            wanted, delay = rng.randint(1, MOST_STEPS), rng.uniform(0, 0.2)
        # The log is that of the life before until the run has said where it goes on.
        while wanted and ACCOUNT not in output.read_text() and process.poll() is None:
            time.sleep(0.005)
        while wanted and last_step(workdir) < saved_before + wanted and process.poll() is None:
            time.sleep(0.005)
        if moment > 1 - DURING_SAVE:
            delay = 0
            while not saved_steps(workdir)[1] and process.poll() is None:
                time.sleep(0.001)
        if wanted:
            starting_seconds = max(starting_seconds, time.monotonic() - started - delay)
        time.sleep(delay)
        alive = process.poll() is None
        process.send_signal(number)
        code = process.wait(timeout=120)
        text = output.read_text()
        if not alive or code not in (-number, 128 + number):
            raise SystemExit(f"the run ended by itself with {code}, before it could be killed:\n{text[-3000:]}")
        shown = text.split(ACCOUNT)
        if len(shown) > 1 and (resumed := int(shown[1].split(" ->")[0])) != saved_before:
            raise SystemExit(f"resumed at step {resumed}, but step {saved_before} had been saved")
        _, half = saved_steps(workdir)
        lost = max(0, last_step(workdir) - last_whole(workdir)) if len(shown) > 1 else 0
        caught = "which is saved" in text
        if caught and lost:
            raise SystemExit(f"{number.name} lost {lost} steps:\n{text[-3000:]}")
    finally:
        process.kill()  # if the run is not as it should be, and still alive
        process.wait()
    life = {"signal": number, "caught": caught, "half": half, "lost": lost, "started": wanted > 0}
    return life, starting_seconds


def damage(place, workdir, arguments, rng):
    """Flips a bit of the last checkpoint, and shows that it is refused by its name."""
    steps, _ = saved_steps(workdir)
    folder = Run(workdir).checkpoints / str(max(steps))
    path = rng.choice([path for path in Path(folder).rglob("d/*") if path.stat().st_size])
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    output, _ = (process := tiny_run.start(place, arguments)).communicate()
    if process.returncode != 1 or f"error: {folder} is damaged" not in output:
        raise SystemExit(f"{path} was damaged, and the run did not say so:\n{output[-3000:]}")


def arrays(workdir, step):
    """All arrays of a checkpoint."""
    folder = Run(workdir).checkpoints.resolve() / str(step)
    return {item: ocp.StandardCheckpointer().restore(folder / item) for item in (VARIABLES, PROGRESS, AVERAGE)}


def torture(place, kills, seed):
    """The whole experiment in the directory `place`; returns the lives of the run that was killed, and the number of
    checkpoints that were damaged."""
    rng, total_steps = random.Random(seed), STEPS_PER_KILL * kills + 2 * MOST_STEPS
    tiny_run.write_data(place)
    straight, killed = place / "straight", place / "killed"
    commands = {
        workdir: tiny_run.command("train.py", place, workdir, total_steps=total_steps) for workdir in (straight, killed)
    }

    def finish(workdir):
        output, _ = (process := tiny_run.start(place, commands[workdir])).communicate()
        if process.returncode:
            raise SystemExit(output[-3000:])

    finish(straight)
    lives, starting_seconds = [], 1.0
    damaged = 0
    for kill in range(kills):
        if kill >= (damaged + 1) * kills // 3 and damaged < 2 and len(saved_steps(killed)[0]) > 1:
            plain = [argument for argument in commands[killed] if argument != "--skip_damaged"]
            damage(place, killed, plain, rng)
            damaged += 1
            commands[killed] = [*commands[killed], "--skip_damaged"]
        life, starting_seconds = one_life(place, killed, commands[killed], rng, starting_seconds)
        lives.append(life)
    finish(killed)
    for workdir in (straight, killed):
        if (last := max(saved_steps(workdir)[0])) != total_steps:
            raise SystemExit(f"{workdir} ended at step {last} of {total_steps}")
    jax.tree.map(np.testing.assert_array_equal, arrays(killed, total_steps), arrays(straight, total_steps))
    if tiny_run.logged(killed) != tiny_run.logged(straight):
        raise SystemExit("the logs differ")
    return lives, damaged


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=ranges.count, default=50, help="how many times")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    parser.add_argument("--keep", help="new directory for the two runs; a temporary one by default")
    options = parser.parse_args()
    hear_interrupts()
    logging.set_verbosity(logging.WARNING)  # orbax tells of every array
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        lives, damaged = torture(Path(options.keep or temporary), options.kills, options.seed)
    if not any(life["half"] for life in lives):
        raise SystemExit("no kill came within a save; try more kills or another seed")
    kinds = {number: [life for life in lives if life["signal"] == number] for number in SIGNALS}
    print(f"kills survived: {len(lives)} ({', '.join(f'{len(some)} {number.name}' for number, some in kinds.items())})")
    starting, saving = sum(not life["started"] for life in lives), sum(life["half"] for life in lives)
    print(f"  while it started: {starting}; within a save: {saving}")
    lost = [life["lost"] for life in kinds[signal.SIGKILL]]
    print(
        f"no saved step was lost; SIGKILL lost {sum(lost)} that were not saved, at most {max(lost, default=0)} at once"
    )
    print(f"the {sum(life['caught'] for life in lives)} SIGTERMs and Ctrl-Cs that came after the start lost none")
    print(f"checkpoints damaged: {damaged}; each was refused by its name, and the run went on from the one before")
    print("the end: parameters, statistics, optimiser, moving average and the log equal to the last bit")
    print(f"{time.monotonic() - start:.0f} s in all; the run was saved every 2 steps")


if __name__ == "__main__":
    with sentences():
        main()
