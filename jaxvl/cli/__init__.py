"""The commands, `jaxvl COMMAND`, in the order in which a person needs them."""

# Each is a module of this package with `main(arguments)`; the line is what `jaxvl --help` shows.
COMMANDS = {
    "prepare": "store images and captions as a data set: Scenes, or a folder of your own",
    "clean": "look for what is wrong with a data set, before anything is trained on it",
    "fetch": "download COCO, or weights of the Hugging Face hub",
    "doctor": "check a machine, or all hosts of a pod, before a run",
    "plan": "say what a step takes on machines that are not here: memory, time and price",
    "train": "train an experiment, or continue its run",
    "evaluate": "score a run on its data set, on another one or on a published benchmark",
    "explain": "draw which image region each word of a sentence refers to",
    "negatives": "write hard negatives of a data set's captions",
    "convert": "turn published weights (Hugging Face, open_clip, ALBEF) into a run",
    "export": "write a run as a folder for PyTorch, compared with JAX before it appears",
    "sweep": "train and evaluate every row of a table of experiments",
    "soup": "mix the weights of two runs, and score every mixture",
}
