"""The kinds of misfortune: what is tried, and what happens then. The labels are marks of the tests."""

KINDS: dict[str, tuple[str, str]] = {
    "A1": (
        "a full disk, at each place that writes",
        "one sentence names the file, or the checkpoints and the last step that is safe; nothing hangs",
    ),
    "A2": (
        "two trainings in one workdir, owners that died or fell silent",
        "the second is refused while the first lives, waits while it ends, and takes over when it is gone",
    ),
    "A3": (
        "changed bytes in checkpoints, converted networks and PyTorch files",
        "the file is named; of a checkpoint, the newest whole step is offered",
    ),
    "A4": (
        "outputs in a place that holds something",
        "refused before anything is computed; `--overwrite` replaces a file or folder by a whole one",
    ),
    "A5": (
        "workdirs of unusual names, checkpoints that are not what was saved",
        "the workdir is refused before the first step, or works; such a checkpoint ends the run with an error",
    ),
    "B1": ("a command that fails, then the corrected one", "the corrected command runs in the same workdir"),
    "B2": ("trainings that eval.py could not evaluate", "refused before the first step"),
    "B3": ("checkpoints that cannot be read", "one sentence names the step and the newest whole one"),
    "B4": ("JSON files that are damaged", "one sentence names the file"),
    "B5": (
        "prepared data that is damaged, or made twice at once",
        "one sentence names the folder and the remedy, or it is mended; the second preparation waits",
    ),
    "B6": ("errors that cause a second error", "the first one is printed"),
    "C1": ("numbers of the configuration out of their range", "one sentence names the field and its range"),
    "C2": ("seeds that do not fit into 32 bits", "refused"),
    "C3": ("hidden, linked and other files and folders that are not read", "their number is printed, by reason"),
    "C4": ("images of 12 bits or fewer in files of 16", "refused, in every layout of pixels"),
    "C5": (
        "images that change after a data set was prepared",
        "noticed by their content: refused with the folder to remove; a csv data set is prepared again",
    ),
    "C6": ("metrics of a run that goes on", "whole lines in the order of steps, none twice"),
    "C7": ("weights that are not finite or no floats, negative variances", "refused by name; float types are listed"),
    "C8": ("a run that goes on with other fields of evaluation", "`config.json` has the fields of the last start"),
    "C9": ("splits that overlap, repeated images, a long warm-up", "a warning in the account of the run"),
    "C10": ("texts that are no numbers, a closed standard output", "one sentence, or the command ends"),
    "C11": ("arguments of the codec out of their range", "a ValueError names the argument; large numbers decode right"),
    "C12": (
        "COCO files that COCO did not make",
        "read right, or one sentence with the true reason; what is left out is counted",
    ),
    "C13": ("coordinates in wrong units", "refused: the message says what was found and what would be right"),
    "C14": ("boxes of no size, spaces, hidden files", "treated alike by training and prediction"),
    "D": ("plain mistakes, Ctrl-C", "one sentence"),
    "E": ("very large inputs, and inputs without an end", "read in time and in bounded memory, or refused at once"),
}
