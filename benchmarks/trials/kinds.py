"""The kinds of misfortune: what is tried, and what happens then. The labels are marks of the tests."""

KINDS: dict[str, tuple[str, str]] = {
    "A1": (
        "a full disk, at each place that writes",
        "one sentence names the file or the checkpoint, and the step that is safe; nothing hangs",
    ),
    "A2": (
        "two processes in one workdir, owners that died or fell silent",
        "the second is refused while the first lives, waits while it ends, and takes over when it is gone",
    ),
    "A3": (
        "changed bytes in checkpoints, converted networks and PyTorch files",
        "the file is named; of a checkpoint, the newest whole step is offered",
    ),
    "A4": (
        "outputs in a place that holds something",
        "refused before anything is computed; `--overwrite` replaces what is there when the new is whole",
    ),
    "A5": (
        "workdirs of unusual names, checkpoints that are not what was saved",
        "refused before the first step, or read back equal; the end of a run says what is there",
    ),
    "B1": ("a command that fails, then the corrected one", "the corrected command runs in the same workdir"),
    "B2": ("trainings that eval.py could not evaluate", "refused before the first step"),
    "B3": ("checkpoints that cannot be read", "one sentence names the step and the newest whole one"),
    "B4": ("JSON files that are damaged", "one sentence names the file"),
    "B5": (
        "prepared data that is damaged, or made twice at once",
        "one sentence names the folder and the remedy, or it is mended; the second preparation waits",
    ),
    "B6": ("errors that follow an error", "the first one is told"),
    "C1": ("numbers of the configuration out of their range", "one sentence names the field and its range"),
    "C2": ("seeds that 32 bits do not hold", "refused"),
    "C3": ("folders, links, hidden and other files that are not looked at", "counted and said, by reason"),
    "C4": ("images of 12 bits or fewer in files of 16", "refused, in every layout of pixels"),
    "C5": (
        "images that change after a data set was prepared",
        "noticed by their content: refused with the folder to remove, or prepared anew (csv)",
    ),
    "C6": ("metrics of a run that goes on", "each step stands once, in order, in whole lines"),
    "C7": ("weights that no network can have", "refused by name; other float types are noted"),
    "C8": ("a run that goes on with other fields of evaluation", "its configuration is that of the last start"),
    "C9": ("splits that overlap, repeated images, a long warm-up", "a warning in the account of the run"),
    "C10": ("numbers that are none, outputs that are closed", "refused"),
    "C11": ("arguments of the codec out of their range", "a ValueError names the argument; large numbers decode right"),
    "C12": (
        "COCO form that is not COCO's own",
        "read right, or one sentence with the true reason; what is left out is counted",
    ),
    "C13": ("coordinates in wrong units", "refused: the message says what was found and what would be right"),
    "C14": ("boxes of no size, spaces, hidden files", "treated alike by training and prediction"),
    "D": ("plain mistakes, Ctrl-C", "one sentence"),
    "E": ("very large inputs, and inputs without an end", "read in time and in bounded memory, or refused at once"),
}
